package config

import (
	"strings"
	"testing"

	"bulkhead/pkg/policy"
)

func FuzzLoadYAML(f *testing.F) {
	for _, dir := range []string{"testdata/design", "testdata/mistakes"} {
		for _, text := range readTree(f, dir) {
			f.Add(string(text))
		}
	}
	f.Add("groups: {a: &x {members: []}, b: *x}\n---\npolicies: []\n")
	f.Add("a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, diags := LoadFiles(map[string][]byte{"f.yaml": []byte(text)})
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + strings.Count(text, "\u2028") + strings.Count(text, "\u2029") + strings.Count(text, "\u0085") + 2
		for _, d := range diags.All() {
			if d.Pos.File != "f.yaml" && d.Pos.File != "" || d.Pos.Line > lines {
				t.Fatalf("%s lies outside the file", d.Error())
			}
		}
		out := diags.Text(s.Source)
		if strings.ContainsAny(out, "\x1b\x00\r") {
			t.Fatalf("raw control characters in %q", out)
		}
		again, more := LoadFiles(map[string][]byte{"f.yaml": []byte(text)})
		if again.Hash != s.Hash || more.Text(again.Source) != out {
			t.Fatal("loading twice gives two results")
		}
		if diags.HasErrors() {
			return
		}
		for _, p := range s.Book.Policies {
			if p.Name == "" || len(p.From) == 0 || len(p.To) == 0 || len(p.Ranges) == 0 || p.Action == "" {
				t.Fatalf("a policy without meaning: %+v", p)
			}
		}
		for _, g := range s.Book.Groups {
			if policy.BuiltIn(g.Name) && (g.Where != "" || g.Members != nil || g.Prefixes != nil || g.Groups != nil) {
				t.Fatalf("a built-in group was changed: %+v", g)
			}
		}
	})
}
