package cryptfs

import (
	"fmt"
	"slices"
	"testing"
)

func TestTouched(t *testing.T) {
	f := &Files{}
	if _, _, known := f.Touched(""); known {
		t.Error("the beginning is known")
	}
	_, mark, _ := f.Touched("")
	f.touched.add("b")
	f.touched.add("a")
	f.touched.add("b")
	names, next, known := f.Touched(mark)
	if !known || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("%v, %v", names, known)
	}
	if names, _, known = f.Touched(next); !known || len(names) != 0 {
		t.Errorf("nothing since: %v, %v", names, known)
	}
	for i := range 3 * touchedMost {
		f.touched.add(fmt.Sprint(i))
	}
	if _, _, known = f.Touched(mark); known {
		t.Error("a mark that lies too far back is known")
	}
	_, mark, _ = f.Touched("")
	f.touched.add("z")
	if names, _, known = f.Touched(mark); !known || !slices.Equal(names, []string{"z"}) {
		t.Errorf("%v, %v", names, known)
	}
	if _, _, known = (&Files{}).Touched(mark); known {
		t.Error("another's mark is known")
	}
}
