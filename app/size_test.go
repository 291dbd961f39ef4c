package app

import "testing"

func TestSize(t *testing.T) {
	for text, want := range map[string]size{"0": 0, "1000": 1000, "7B": 7, "512MiB": 512 << 20, "2GiB": 2 << 30, "1TiB": 1 << 40, "3KiB": 3072} {
		var s, again size
		if err := s.Set(text); err != nil || s != want {
			t.Error(text, s, err)
		}
		if err := again.Set(s.String()); err != nil || again != s {
			t.Error(text, "reads otherwise as", s.String())
		}
	}
	for _, text := range []string{"", "GiB", "-1", "1GB", "1 gib", "9999999999TiB", "1.5GiB", "1GiBx", "1KiBKiB"} {
		var s size
		if err := s.Set(text); err == nil {
			t.Error(text, "was read as", s)
		}
	}
}
