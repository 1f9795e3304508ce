package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the repository promises of its code, beyond what a linter knows.
func TestRepositoryRules(t *testing.T) {
	for _, p := range packages(t) {
		hasDoc := false
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			hasDoc = hasDoc || file.Doc != nil
			checkFile(t, p.ImportPath, path, file)
		}
		if !hasDoc && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func checkFile(t *testing.T, pkg, path string, file *ast.File) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "\n"); n > 600 {
		t.Errorf("%s has %d lines: a room that too many people would share", path, n)
	}
	isMain := pkg == "bulkhead/cmd/bulkhead" || pkg == "bulkhead/bench" // the programs
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				t.Errorf("%s: init() hides an order of things; use an explicit list", path)
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok || isMain {
				return true
			}
			switch x.Name + "." + n.Sel.Name {
			case "os.Exit", "log.Fatal", "log.Fatalf", "fmt.Print", "fmt.Printf", "fmt.Println":
				t.Errorf("%s: %s.%s below cmd", path, x.Name, n.Sel.Name)
			}
		}
		return true
	})
}

// No test is skipped: what a test needs is installed, or it fails.
func TestNoSkips(t *testing.T) {
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "repo_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && (strings.Contains(string(b), "t.Skip(") || strings.Contains(string(b), "t.Skipf(") || strings.Contains(string(b), "t.SkipNow(")) {
			t.Errorf("%s skips a test", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every package is in one of the Makefile's two lists, or its tests never run; in both
// they would run twice.
func TestMakefileRunsEveryPackage(t *testing.T) {
	b, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var patterns []string
	for _, list := range []string{"REAL", "PURE"} {
		_, rest, ok := strings.Cut(strings.ReplaceAll(string(b), "\\\n", ""), "\n"+list+" := ")
		if !ok {
			t.Fatalf("the Makefile has no list %s", list)
		}
		line, _, _ := strings.Cut(rest, "\n")
		patterns = append(patterns, strings.Fields(line)...)
	}
	for _, p := range packages(t) {
		path := "./" + strings.TrimPrefix(p.ImportPath, "bulkhead/")
		in := 0
		for _, pattern := range patterns {
			if top, below := strings.CutSuffix(pattern, "/..."); path == top || below && strings.HasPrefix(path, top+"/") {
				in++
			}
		}
		if in != 1 {
			t.Errorf("the Makefile runs the tests of %s %d times", p.ImportPath, in)
		}
	}
}
