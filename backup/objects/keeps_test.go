package objects_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/backup/objects"
	"holdfast/backup/objects/gateway"
)

func TestWhatIsKept(t *testing.T) {
	const lock = `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>`
	for _, c := range []struct {
		versioning, lock string
		status           int
		want             objects.Keeps
	}{
		{`<VersioningConfiguration/>`, "", 404, objects.Keeps{}},
		{`<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`, "", 404, objects.Keeps{Versions: true}},
		{`<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>`, "", 404, objects.Keeps{Versions: true}},
		{`<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`, lock, 200, objects.Keeps{Versions: true, Locked: true}},
		{`<VersioningConfiguration/>`, "", 403, objects.Keeps{Unknown: true}},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			if strings.Contains(r.URL.RawQuery, "versioning") {
				fmt.Fprint(w, c.versioning)
				return
			}
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.lock)
		}))
		s := open(t, "s3://bucket/p?endpoint="+server.URL, objects.Credentials{AccessKey: "a", SecretKey: "b"})
		got, err := objects.WhatIsKept(t.Context(), s)
		server.Close()
		if err != nil || got != c.want {
			t.Errorf("%+v: %+v, %v", c, got, err)
		}
	}
	dir, err := objects.WhatIsKept(t.Context(), open(t, "file://"+t.TempDir(), objects.Credentials{}))
	if err != nil || dir != (objects.Keeps{}) {
		t.Errorf("folder: %+v, %v", dir, err)
	}
}

// A real server keeps nothing, or does not say.
func TestWhatARealServerKeeps(t *testing.T) {
	server := gateway.Start(t)
	k, err := objects.WhatIsKept(t.Context(), open(t, server.URL("p"), server.Credentials))
	if err != nil || k.Versions || k.Locked {
		t.Errorf("%+v, %v", k, err)
	}
}
