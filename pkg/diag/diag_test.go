package diag

import (
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
)

func TestSuggest(t *testing.T) {
	names := []string{"plcs", "hmi", "office", "echo-request", "startsWith", "web-1", "web-2"}
	for _, tc := range []struct{ word, want string }{
		{"plc", "plcs"},
		{"hmii", "hmi"},
		{"offcie", "office"},
		{"echo_request", "echo-request"},
		{"startswith", "startsWith"},
		{"web-3", "web-1"}, // both are one away: the first in order
		{"plcs", ""},       // nothing else is near
		{"database", ""},
		{"", ""},
	} {
		if got := Suggest(tc.word, names); got != tc.want {
			t.Errorf("Suggest(%q) = %q, want %q", tc.word, got, tc.want)
		}
	}
}

func TestSuggestIgnoresOrder(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.StringMatching(`[a-d]{1,5}`)).Draw(t, "words")
		word := rapid.StringMatching(`[a-d]{1,5}`).Draw(t, "word")
		shuffled := rapid.Permutation(words).Draw(t, "shuffled")
		if a, b := Suggest(word, words), Suggest(word, shuffled); a != b {
			t.Fatalf("%q then %q", a, b)
		}
	})
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}} {
		if got := distance([]rune(tc.a), []rune(tc.b), 10); got != tc.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

func TestSafe(t *testing.T) {
	for in, want := range map[string]string{
		"plain text, é, 日本":  "plain text, é, 日本",
		"\x1b[31mred":        `\x1b[31mred`,
		"a\nb\tc":            `a\nb\tc`,
		"bad \xff byte":      `bad \xff byte`,
		"rtl \u202e txt":     `rtl \u202e txt`,
		"zero\u200bwidth":    `zero\u200bwidth`,
		"replacement \ufffd": "replacement \ufffd",
	} {
		if got := Safe(in); got != want {
			t.Errorf("Safe(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzSafe(f *testing.F) {
	f.Add("a\x1b]0;title\x07b")
	f.Add("\xc2\x9b31m")
	f.Fuzz(func(t *testing.T, s string) {
		out := Safe(s)
		for _, r := range out {
			if r != ' ' && !unicode.IsPrint(r) {
				t.Fatalf("Safe(%q) = %q holds %q", s, out, r)
			}
		}
		if Safe(out) != out {
			t.Fatalf("Safe(%q) changes when it is made safe again", s)
		}
	})
}

func TestRender(t *testing.T) {
	var l List
	d := l.Errorf(Pos{"b.yaml", 2, 5}, "unknown group %q", "plc")
	d.Hint, d.Len = `did you mean "plcs"?`, 3
	l.Warnf(Pos{"b.yaml", 1, 1}, "tabs are\tshown safely")
	l.Errorf(Pos{File: "a.yaml"}, "whole file")
	l.Errorf(Pos{"b.yaml", 9, 1}, "beyond the end")
	l.Errorf(Pos{}, "nowhere")
	src := func(file string) []byte { return []byte("\tx: \x1b[1m\r\nto: plc\n") }
	want := `error: nowhere
a.yaml: error: whole file
b.yaml:1:1: warning: tabs are\tshown safely
     x: \x1b[1m
    ^
b.yaml:2:5: error: unknown group "plc"
    to: plc
        ^~~
  hint: did you mean "plcs"?
b.yaml:9:1: error: beyond the end
`
	if got := l.Text(src); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var b strings.Builder
	if err := l.Render(&b, src); err != nil || b.String() != want {
		t.Errorf("Render: %v, %q", err, b.String())
	}
}

func TestRenderLongLine(t *testing.T) {
	var l List
	l.Errorf(Pos{"a", 1, 201}, "here").Len = 4
	src := func(string) []byte { return []byte(strings.Repeat("x", 200) + "here" + strings.Repeat("y", 200)) }
	got := strings.Split(l.Text(src), "\n")
	at := strings.Index(got[2], "^~~~")
	if len(got[1]) > 140 || got[1][at:at+4] != "here" {
		t.Errorf("the caret is not under the word:\n%s\n%s", got[1], got[2])
	}
}

func TestErr(t *testing.T) {
	var l List
	if l.Err() != nil {
		t.Error("an empty list is an error")
	}
	l.Warnf(Pos{}, "warning")
	if l.Err() != nil || l.HasErrors() {
		t.Error("a warning is an error")
	}
	l.Errorf(Pos{"b", 1, 1}, "second")
	l.Errorf(Pos{"a", 1, 2}, "first")
	if got := l.Err().Error(); got != "a:1:2: error: first (and 1 more)" {
		t.Errorf("Err() = %q", got)
	}
	var o List
	o.Append(&l)
	o.Append(nil)
	if o.Len() != 3 {
		t.Errorf("Append gave %d", o.Len())
	}
}
