package strict

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"bulkhead/pkg/diag"
)

// read decodes one YAML text by v and returns the messages.
func read(t *testing.T, text string, v Value) []diag.Diagnostic {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Load([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	var l diag.List
	v.Read(&Decoder{File: "f", Source: []byte(text), Diags: &l}, doc.Content[0])
	return l.All()
}

type color string

func TestScalars(t *testing.T) {
	var (
		s  string
		c  color
		b  bool
		i  int
		du time.Duration

		span time.Duration
		tm   time.Time
	)
	for _, tc := range []struct {
		text string
		v    Value
		want string
	}{
		{"a", String(&s), ""},
		{"''", String(&s), "must not be empty"},
		{"3", String(&s), "must be text, not a number"},
		{"red", Enum(&c, color("red"), color("green")), ""},
		{"rad", Enum(&c, color("red"), color("green")), `unknown value "rad"`},
		{"true", Bool(&b), ""},
		{"'true'", Bool(&b), "true or false, not text"},
		{"7", Int(&i, 0, 9), ""},
		{"10", Int(&i, 0, 9), "from 0 to 9"},
		{"99999999999999999999", Int(&i, 0, 9), "whole number"},
		{"90s", Duration(&du, time.Second), ""},
		{"90", Duration(&du, time.Second), "not a length of time"},
		{"1ms", Duration(&du, time.Second), "too short"},
		{"90d", Span(&span, time.Hour), ""},
		{"1d12h30m", Span(&span, time.Hour), ""},
		{"36h", Span(&span, time.Hour), ""},
		{"3w", Span(&span, time.Hour), "not a length of time"},
		{"d", Span(&span, time.Hour), "not a length of time"},
		{"-1d", Span(&span, time.Hour), "not a length of time"},
		{"99999999d", Span(&span, time.Hour), "not a length of time"},
		{"1m", Span(&span, time.Hour), "too short"},
		{"2027-01-31T02:00:00+02:00", Time(&tm), ""},
		{"2027-01-31 02:00", Time(&tm), "RFC 3339"},
		{"~", String(&s), "a value is missing"},
		{"[a]", String(&s), "must be text, not a list"},
		{"!custom a", String(&s), "tagged !custom"},
	} {
		got := read(t, tc.text, tc.v)
		if tc.want == "" && len(got) != 0 || tc.want != "" && (len(got) != 1 || !strings.Contains(got[0].Message, tc.want)) {
			t.Errorf("%s: %+v, want %q", tc.text, got, tc.want)
		}
	}
	if s != "a" || c != "red" || !b || i != 7 || du != 90*time.Second || span != 36*time.Hour || !tm.Equal(time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("read %q %q %t %d %s %s %s", s, c, b, i, du, span, tm)
	}
}

// Absent, empty and given are three things.
func TestAbsentAndEmpty(t *testing.T) {
	keys := func(p *[]Named) Value {
		return Object("a thing", nil, func() []Key { return []Key{{Name: "list", Value: Places(p)}} })
	}
	var absent, empty, given []Named
	for text, p := range map[string]*[]Named{"{}": &absent, "{list: []}": &empty, "{list: [a]}": &given} {
		if got := read(t, text, keys(p)); len(got) != 0 {
			t.Errorf("%s: %+v", text, got)
		}
	}
	if absent != nil || empty == nil || len(empty) != 0 || len(given) != 1 || given[0].Pos.Col != 9 {
		t.Errorf("%v %v %v", absent, empty, given)
	}
}

func TestObject(t *testing.T) {
	var s string
	v := Object("a thing", nil, func() []Key {
		return []Key{{Name: "name", Required: true, Value: String(&s)}, {Name: "note", Value: String(&s)}}
	})
	got := read(t, "nam: a\n1: b\nnote: c\nnote: d\n", v)
	want := []string{`a thing needs "name"`, `unknown key "nam" in a thing`, `unknown key "1" in a thing`, `duplicate key "note", first given at f:3`}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, w := range want {
		if got[i].Message != w {
			t.Errorf("got %q, want %q", got[i].Message, w)
		}
	}
	if got[1].Hint != `did you mean "name"?` || got[1].Len != 3 {
		t.Errorf("%+v", got[1])
	}
}

func TestExpressionPosition(t *testing.T) {
	for text, want := range map[string][2]int{
		"a == b": {1, 1}, "'a == b'": {1, 2}, `"a == b"`: {1, 2}, "|\n  a ==\n  b": {2, 3}, ">\n\n    a": {3, 5},
	} {
		var p Named
		if got := read(t, text, Expression(&p)); len(got) != 0 || p.Pos.Line != want[0] || p.Pos.Col != want[1] {
			t.Errorf("%q: %+v at %+v, want %v", text, got, p.Pos, want)
		}
	}
}

func TestReportTakesHints(t *testing.T) {
	var l diag.List
	Report(&l, Named{Len: 3}, &Mistake{"message", "hint"})
	Report(&l, Named{}, errors.New("plain"))
	if d := l.All(); d[0].Hint != "hint" || d[0].Len != 3 || d[1].Hint != "" {
		t.Errorf("%+v", d)
	}
}
