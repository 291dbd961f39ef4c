package chain

import "testing"

func FuzzStretch(f *testing.F) {
	f.Add(stretchName(3, 17))
	f.Fuzz(func(t *testing.T, name string) {
		if since, version, err := parseStretch(name); err == nil && stretchName(since, version) != name {
			t.Error("another name comes back")
		}
	})
}
