package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the fixtures of older schema versions anew")

const fixture = "testdata/schema1.db"

// writeSchema1 writes what the first version of the schema looked like.
func writeSchema1(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	path := filepath.Join(dir, "v1.db")
	_, err := writeImage(path, header{Schema: 1, Site: "plant", Generation: 1}, func(put func(op) error) error {
		return copyValues(s.m, s.fd, nil, func(o op) error {
			if o.bucket == bucketApply {
				var m map[string]any
				must(t, json.Unmarshal(o.value, &m))
				m["why"], m["points"] = m["reason"], map[string]bool{"gw": true, "sw1": false}
				delete(m, "reason")
				delete(m, "results")
				var err error
				o.value, err = json.Marshal(m)
				must(t, err)
			}
			return put(o)
		})
	})
	must(t, err)
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.MkdirAll("testdata", 0o755))
	must(t, os.WriteFile(fixture, b, 0o644))
}

// oldState lays a fixture out as that version left it.
func oldState(t *testing.T, damage func(*image)) string {
	t.Helper()
	dir := t.TempDir()
	b, err := os.ReadFile(fixture)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "plant.db"), b, 0o600))
	m, err := scan(bytes.NewReader(b), int64(len(b)), fixture, 0)
	must(t, err)
	if damage != nil {
		damage(m)
	}
	h, err := encodeHead(m.head())
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "plant.head"), h, 0o600))
	return dir
}

// A file of each older schema is migrated when it is opened, and a backup of it
// as it was is there before; that backup can be restored and migrates again.
func TestMigration(t *testing.T) {
	if *update {
		writeSchema1(t)
	}
	dir := oldState(t, nil)
	if _, err := OpenReadOnly(dir, "plant"); err == nil {
		t.Error("a reader took a schema that it does not know")
	}
	s := open(t, dir)
	checkFilled(t, s)
	if s.m.Schema != Schema {
		t.Errorf("schema %d", s.m.Schema)
	}
	must(t, s.Close())
	checkFilled(t, open(t, dir))
	b, err := os.ReadFile(filepath.Join(dir, "plant.schema1.backup"))
	must(t, err)
	to := t.TempDir()
	_, err = Restore(bytes.NewReader(b), Options{Dir: to, Now: clock}, false)
	must(t, err)
	checkFilled(t, open(t, to))
}

// A state that a newer program wrote is refused, and nothing of it is touched.
func TestNewerSchema(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "plant.db")
	_, err := writeImage(path, header{Schema: Schema + 1, Site: "plant", Generation: 1}, func(func(op) error) error { return nil })
	must(t, err)
	before, err := os.ReadFile(path)
	must(t, err)
	var v *VersionError
	if _, err := Open(dir, "plant", clock); !errors.As(err, &v) || v.Have != Schema+1 {
		t.Errorf("%v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Error("it was touched")
	}
}
