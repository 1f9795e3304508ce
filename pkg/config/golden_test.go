package config

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bulkhead/pkg/diag"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// readTree reads test files under dir, named relative to it.
func readTree(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		files[filepath.ToSlash(rel)] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestMistakesGolden(t *testing.T) {
	files := readTree(t, "testdata/mistakes")
	site, diags := LoadFiles(files)
	got := diags.Text(site.Source)
	const golden = "testdata/mistakes.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("diagnostics differ from %s; run with -update and look at the difference\n%s", golden, got)
	}
	if bytes.ContainsAny([]byte(got), "\x1b\x00\x07") {
		t.Error("the rendering holds raw control characters")
	}
	if n := errorsIn(diags); n < 25 {
		t.Errorf("only %d errors, the files hold more mistakes", n)
	}
}

func errorsIn(l *diag.List) int {
	n := 0
	for _, d := range l.All() {
		if d.Severity == diag.Error {
			n++
		}
	}
	return n
}

// Every position must lie in the file that it names: a caret beyond the text
// would point at nothing.
func TestMistakePositionsExist(t *testing.T) {
	files := readTree(t, "testdata/mistakes")
	_, diags := LoadFiles(files)
	for _, d := range diags.All() {
		text, ok := files[d.Pos.File]
		if !ok {
			t.Errorf("no file %q: %s", d.Pos.File, d.Message)
			continue
		}
		lines := strings.Split(string(text), "\n")
		if d.Pos.Line < 1 || d.Pos.Line > len(lines) || d.Pos.Col < 1 || d.Pos.Col > len([]rune(lines[d.Pos.Line-1]))+1 {
			t.Errorf("%s: position outside the file", d.Error())
		}
	}
}
