package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"testing"
	"time"

	"holdfast/data"
)

// A vault that is followed by stretches comes back as it is, deletions and
// expiries included.
func TestStream(t *testing.T) {
	keys := newTestKeys()
	v, err := Open(t.TempDir()+"/vault", keys)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close() //nolint:errcheck // the test is over
	var stretches [][]byte
	var since uint64
	for round := range 6 {
		fillRound(t, v, round)
		var b bytes.Buffer
		version, err := v.Stream(t.Context(), since, &b)
		if err != nil || version <= since {
			t.Fatalf("round %d: %d, %v", round, version, err)
		}
		stretches, since = append(stretches, b.Bytes()), version
	}
	var b bytes.Buffer
	if version, err := v.Stream(t.Context(), since, &b); err != nil || version != since || b.Len() != 0 {
		t.Errorf("nothing came, but %d bytes up to %d, %v", b.Len(), version, err)
	}
	dir := t.TempDir() + "/loaded"
	load := func() (io.Reader, error) {
		if len(stretches) == 0 {
			return nil, io.EOF
		}
		r := bytes.NewReader(stretches[0])
		stretches = stretches[1:]
		return r, nil
	}
	if err := Load(t.Context(), dir, keys, load); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir, keys)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close() //nolint:errcheck // the test is over
	if want, got := records(t, v), records(t, again); !maps.Equal(want, got) || len(want) == 0 {
		t.Errorf("%d records became %d", len(want), len(got))
	}
	if err := Load(t.Context(), dir, keys, load); !errors.Is(err, data.ErrExists) && !errors.Is(err, data.ErrBusy) {
		t.Errorf("over another vault: %v", err)
	}
}

func fillRound(t *testing.T, v *Vault, round int) {
	t.Helper()
	err := v.Sub("s").Update(t.Context(), func(tx *Tx) error {
		for i := range 50 {
			key := fmt.Appendf(nil, "k%d", (i+round*20)%100)
			if err := tx.SetTTL(key, fmt.Appendf(nil, "%d of %d", i, round), time.Hour); err != nil {
				return err
			}
		}
		return tx.Delete(fmt.Appendf(nil, "k%d", round*20))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func records(t *testing.T, v *Vault) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := v.Sub("s").View(t.Context(), func(tx *Tx) error {
		return tx.Walk(nil, nil, func(key, value []byte) (bool, error) {
			out[string(key)] = string(value)
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
