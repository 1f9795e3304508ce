package drivertest_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// A decoder that shares code with its renderer shares its mistakes.
func TestDecodersAndRenderersShareNothing(t *testing.T) {
	for pattern, forbidden := range map[string]string{"*/decode.go": "driver/want", "*/render.go": "drivertest/meaning", "meaning/*.go": "driver/want", "../want/*.go": "drivertest/meaning"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no files %q: %v", pattern, err)
		}
		for _, name := range files {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range f.Imports {
				if strings.Contains(i.Path.Value, forbidden) {
					t.Errorf("%s imports %s", name, i.Path.Value)
				}
			}
		}
	}
}
