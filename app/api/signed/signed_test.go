package signed

import (
	"bytes"
	"testing"
)

func TestCanonical(t *testing.T) {
	got, err := FromJSON([]byte(" { \"b\" : [ 1, \"\\u00e9<\\u2028\" ], \"a\":null } "))
	if err != nil || string(got) != `{"a":null,"b":[1,"é< "]}` {
		t.Errorf("%s %v", got, err)
	}
	for _, bad := range []string{"1.5", "1e3", "-0", "{} {}", "{", `{"a":0.1}`} {
		if _, err := FromJSON([]byte(bad)); err == nil {
			t.Errorf("%s passed", bad)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"b":[1,"é"],"a":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := FromJSON(b)
		if err != nil {
			return
		}
		if twice, err := FromJSON(once); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%q became %q (%v)", once, twice, err)
		}
	})
}
