package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"bulkhead/inventory"
	"bulkhead/pkg/policy"
)

// one loads a site of one file.
func one(text string) (*Site, string) {
	s, d := LoadFiles(map[string][]byte{"s.yaml": []byte(text)})
	var out []string
	for _, x := range d.All() {
		out = append(out, x.Error())
	}
	return s, strings.Join(out, "\n")
}

func TestDesignSite(t *testing.T) {
	files := readTree(t, "testdata/design")
	s, diags := LoadFiles(files)
	if diags.Len() != 0 {
		t.Fatal(diags.Text(s.Source))
	}
	if len(s.Assets) != 5 || len(s.Book.Groups) != 9 || len(s.Book.Policies) != 1 || len(s.Tests) != 3 || len(s.Settings.Points) != 2 {
		t.Errorf("%d assets, %d groups, %d policies, %d tests, %d points",
			len(s.Assets), len(s.Book.Groups), len(s.Book.Policies), len(s.Tests), len(s.Settings.Points))
	}
	p := s.Book.Policies[0]
	want := policy.Policy{
		Name: "hmi-to-plc", From: []string{"hmi"}, To: []string{"plcs"}, Services: []string{"s7", "tcp/4840", "udp/6000-6999"},
		Ranges: []policy.Range{{Proto: 6, Lo: 102, Hi: 102}, {Proto: 6, Lo: 4840, Hi: 4840}, {Proto: 17, Lo: 6000, Hi: 6999}},
		Action: policy.Allow, Tier: policy.Application, Order: 100, Direction: policy.Both, Mode: policy.Enforce,
		Same: []string{"cell"}, Expires: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC), Pos: p.Pos,
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v\nwant %+v", p, want)
	}
	gw := s.Settings.Point("gw")
	if gw.Zones[0].PrefixesGiven || !gw.Zones[1].PrefixesGiven || gw.Zones[1].AntiSpoof != SpoofEnforce || gw.Zones[0].AntiSpoof != SpoofObserve {
		t.Errorf("zones %+v", gw.Zones)
	}
	if w := s.Settings.Point("web-1"); w.Protects != `id == "web-1"` || w.ProtectsPos.Col != 16 || w.Budget.Elements != 500000 {
		t.Errorf("%+v", w)
	}
	for i := range 3 {
		if want := []EndKind{EndAsset, EndGroup, EndPrefix}[i]; s.Tests[i].From.Kind != want {
			t.Errorf("test %d is from a %s, want %s", i, s.Tests[i].From.Kind, want)
		}
	}
}

func TestSplitAndOrderDoNotMatter(t *testing.T) {
	files := readTree(t, "testdata/design")
	a, _ := LoadFiles(files)
	var all strings.Builder
	for _, name := range []string{"tests/plant.yaml", "bulkhead.yaml", "policy/plant.yaml", "inventory/plant.yaml"} {
		all.WriteString("---\n" + string(files[name]))
	}
	b, diags := LoadFiles(map[string][]byte{"all.yaml": []byte(all.String()), "inventory/c.csv": files["inventory/cameras.csv"]})
	if diags.Len() != 0 {
		t.Fatal(diags.Text(b.Source))
	}
	if len(a.Assets) != len(b.Assets) || len(a.Book.Groups) != len(b.Book.Groups) || a.Hash == b.Hash {
		t.Error("one file and many differ, or their hashes do not")
	}
}

func TestEmptySite(t *testing.T) {
	s, msg := one("# nothing yet\n")
	if msg != "" || s.Settings.ConfirmTimeout != 2*time.Minute || s.Settings.Drift != DriftRepair || len(s.Book.Groups) != 3 {
		t.Errorf("%s, %+v", msg, s.Settings)
	}
	if !reflect.DeepEqual(s.Settings.Precedence, []string{"files"}) {
		t.Errorf("precedence %v", s.Settings.Precedence)
	}
}

// Each text is one mistake, or none.
func TestMessages(t *testing.T) {
	const groups = "groups:\n  a: {prefixes: [10.0.0.0/8]}\n  b: {prefixes: [10.0.0.0/9]}\n"
	rule := func(extra string) string {
		return groups + "policies:\n  - {name: p, from: a, to: b, services: any, action: allow" + extra + "}\n"
	}
	for _, tc := range []struct{ text, want string }{
		{rule(""), ""},
		{rule(", ticket: 4711, log: true, tier: baseline, order: 0"), ""},
		{rule(", same: cell, differ: [cell]"), `label "cell" cannot be both the same and different`},
		{rule(", expires: 2027-01-31"), `not a time with date, time of day and zone (RFC 3339)`},
		{rule(", expires: \"2027-01-31T00:00:00+02:00\""), ""},
		{rule(", order: -1"), "a whole number from 0"},
		{rule(", order: 1e3"), "whole number"},
		{rule(", from: b"), `duplicate key "from", first given at s.yaml:5`},
		{rule("") + "  - {name: p, from: a, to: b, services: any, action: deny}\n", `s.yaml:6:12: error: duplicate policy "p", first given at s.yaml:5`},
		{groups + "policies: {}\n", "must be a list, not a map"},
		{"groups:\n  any: {isolate: both}\n", ""},
		{"groups:\n  any: {members: []}\n", `"any" is built in`},
		{"groups:\n  a: {members: []}\n", ""},
		{"groups:\n  a: {isolate: both}\n", `warning: group "a" is empty`},
		{"groups:\n  a: {members:}\n", "a value is missing"},
		{"groups:\n  10.0.0.1: {members: []}\n", "names must not look like one"},
		{"groups:\n  \"a b\": {members: []}\n", `holds ' '`},
		{"groups:\n  -a: {members: []}\n", "must begin with a letter or a digit"},
		{"groups:\n  " + strings.Repeat("x", 64) + ": {members: []}\n", "at most 63"},
		{"groups:\n  a: {groups: [a]}\n", `group "a" depends on itself: a -> a`},
		{"groups:\n  a: {groups: [b]}\n  b: {groups: [c]}\n  c: {except: [a], members: []}\n", "a -> b -> c -> a"},
		{"groups:\n  a: {where: ''}\n", "must not be empty"},
		{"groups:\n  a: {except: [any, 10.0.0.1, 10.0.0.0/8], members: []}\n", ""},
		{"groups:\n  a: {members: [x]}\n", `unknown asset "x"`},
		{"groups:\n  a: {members: [x]}\nsources: {s: {type: ec2, trust: full}}\n", `warning: no file declares asset "x"`},
		{"groups:\n  a: {members: [b]}\n  b: {members: []}\n", `"b" is a group, and members are assets`},
		{"groups:\n  a: {prefixes: [10.0.0.1, 10.0.0.1/32]}\n", "given twice"},
		{"groups:\n  a: {<<: {members: []}, members: []}\n", "merge keys are not supported"},
		{"groups:\n  a: &x {members: []}\n  b: *x\n", ""},
		{"services: {tcp: udp/1}\n", `"tcp" is a literal already`},
		{"services: {web: [tcp/80, tcp/443], all: [web, udp/53]}\n", ""},
		{"services: {a: b, b: a}\n", "service \"a\" contains itself: a -> b -> a"},
		{"services: {a: []}\n", "must not be empty"},
		{"points: {gw: {driver: nftables, zones: {in: {interfaces: [eth0], antispoof: off}}}}\n", ""},
		{"points: {gw: {driver: nftables, zones: {in: {interfaces: [eth0], prefixes: []}}}}\n", ""},
		{"points: {gw: {driver: nftables, zones: {in: {interfaces: [0123456789abcdef]}}}}\n", "at most 15"},
		{"points: {gw: {driver: nftables, zones: {in: {interfaces: [\"eth0; drop\"]}}}}\n", "a character that none has"},
		{"points: {gw: {protects: id == 'x'}}\n", `a point needs "driver"`},
		{"points: {gw: {driver: aws, protects: 'true', settings: {k: {file: a, env: b}}}}\n", "exactly one of"},
		{"points: {gw: {driver: aws, protects: 'true', settings: {k: {}}}}\n", "exactly one of"},
		{"points: {gw: {driver: aws, protects: 'true', settings: {k: [1, b], n: 3}}}\n", ""},
		{"drift: report\n---\ndrift: repair\n", `"drift" is given twice, first at s.yaml:1`},
		{"confirm_timeout: 1s\n", "too short"},
		{"confirm_timeout: 1000h\n", "too long"},
		{"probes: [{name: p, http: {url: \"ftp://x\"}}]\n", "not an http or https URL"},
		{"probes: [{name: p, ping: 10.0.0.1, timeout: 1m1s}]\n", "too long, the most is 1m0s"},
		{"probes: [{name: p, http: {url: \"http://u:p@x/\"}}]\n", "password does not belong"},
		{"assets: {a: {kind: vm}}\ngroups: {a: {members: []}}\ntests: [{name: t, from: a, to: 10.0.0.1, service: any, expect: deny}]\n", "both a group (s.yaml:2) and an asset (s.yaml:1)"},
		{"tests: [{name: t, from: nobody, to: 10.0.0.1, service: any, expect: deny}]\n", `unknown group, asset or address "nobody"`},
		{"tests: [{name: t, from: 10.0.0.300, to: 10.0.0.1, service: any, expect: deny}]\n", ""},
		{"assets: []\n", "must be a map"},
		{"- a\n", "must be a map"},
		{"groups:\n\ta: {}\n", "not valid YAML"},
		{"? [a]\n: b\n", "a key must be text"},
		{"groups: {a: {members: [1]}}\n", "this must be text, not a number"},
		{"assets: {a: {kind: vm, labels: {x: null}}}\n", "a value is missing"},
		{"assets: {a: {kind: vm, labels: {x: [y]}}}\n", "must be text, not a list"},
		{"nothing: 1\n", `unknown key "nothing" in a site file`},
	} {
		if tc.text == "tests: [{name: t, from: 10.0.0.300, to: 10.0.0.1, service: any, expect: deny}]\n" {
			tc.want = `unknown group, asset or address "10.0.0.300"`
		}
		_, got := one(tc.text)
		if tc.want == "" && got != "" || tc.want != "" && (strings.Count(got, "\n") > 0 || !strings.Contains(got, tc.want)) {
			t.Errorf("%s\n got %q\nwant %q", tc.text, got, tc.want)
		}
	}
}

func TestDuplicatesAcrossFiles(t *testing.T) {
	_, d := LoadFiles(map[string][]byte{
		"a.yaml": []byte("assets: {x: {kind: vm}}\nservices: {s: tcp/1}\ngroups: {g: {members: []}}\npoints: {p: {driver: d, protects: 'true'}}\n"),
		"b.yaml": []byte("assets: {x: {kind: vm}}\nservices: {s: tcp/1}\ngroups: {g: {members: []}}\npoints: {p: {driver: d, protects: 'true'}}\n"),
	})
	for i, what := range []string{"asset", "service", "group", "point"} {
		want := fmt.Sprintf("b.yaml:%d:%d: error: duplicate %s", i+1, []int{10, 12, 10, 10}[i], what)
		if got := d.All()[i].Error(); !strings.HasPrefix(got, want) || !strings.Contains(got, fmt.Sprintf("a.yaml:%d", i+1)) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Expressions keep the place of their first character, whatever the quoting.
func TestWherePos(t *testing.T) {
	s, msg := one("groups:\n  a: {where: 'true'}\n  b:\n    where: true == true\n  c:\n    where: |\n\n      id == \"x\"\n      || id == \"y\"\n")
	if msg != "" {
		t.Fatal(msg)
	}
	for i, want := range [][2]int{{2, 15}, {4, 12}, {8, 7}} {
		g := s.Book.Groups[[]int{0, 2, 3}[i]]
		if g.Name == "any" {
			g = s.Book.Groups[1]
		}
		if g.WherePos.Line != want[0] || g.WherePos.Col != want[1] {
			t.Errorf("%s: %+v, want %v", g.Name, g.WherePos, want)
		}
	}
}

func TestLoadDirectory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	load := func() string {
		_, d := Load(dir)
		var out []string
		for _, x := range d.All() {
			out = append(out, x.Error())
		}
		return strings.Join(out, "\n")
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := load(); !strings.Contains(got, "holds no site") {
		t.Errorf("empty directory: %q", got)
	}
	write("bulkhead.yaml", "drift: report\n", 0o644)
	write("inventory/deep/a.csv", "id,kind\na,vm\n", 0o644)
	write("inventory/.hidden.yaml", "nonsense: 1\n", 0o644)
	write("other/b.yaml", "nonsense: 1\n", 0o644)
	write("README.md", "nonsense\n", 0o666)
	s, d := Load(dir)
	if d.Len() != 0 || len(s.Assets) != 1 || s.Settings.Drift != DriftReport || len(s.Files) != 2 {
		t.Fatalf("%s %+v", d.Text(nil), s.Files)
	}
	bad := write("policy/b.yaml", "groups: {}\n", 0o664)
	if got := load(); got != "policy/b.yaml: error: the file can be written by its group (mode 0664), who could change what the network does" {
		t.Errorf("%q", got)
	}
	os.Chmod(bad, 0o646)
	if got := load(); !strings.Contains(got, "by everybody (mode 0646)") {
		t.Errorf("%q", got)
	}
	os.Chmod(bad, 0o644)
	os.Chmod(filepath.Join(dir, "policy"), 0o777)
	if got := load(); !strings.Contains(got, "policy: error: the directory can be written by everybody") {
		t.Errorf("%q", got)
	}
	os.Chmod(filepath.Join(dir, "policy"), 0o755)
	outside := filepath.Join(t.TempDir(), "x.yaml")
	os.WriteFile(outside, []byte("drift: repair\n"), 0o600)
	os.Symlink(outside, filepath.Join(dir, "policy/link.yaml"))
	if got := load(); !strings.HasPrefix(got, "policy/link.yaml: error: follow the link: ") {
		t.Errorf("%q", got)
	}
	os.Remove(filepath.Join(dir, "policy/link.yaml"))
	os.Symlink("b.yaml", filepath.Join(dir, "policy/inside.yml"))
	if got := load(); got != "" {
		t.Errorf("a link inside: %q", got)
	}
	os.Chmod(dir, 0o775)
	if got := load(); !strings.HasPrefix(got, "error: the site directory can be written by its group") {
		t.Errorf("%q", got)
	}
	if _, d := Load(filepath.Join(dir, "nowhere")); !d.HasErrors() {
		t.Error("a directory that is not there loads")
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "token"), []byte("hunter2\n"), 0o600)
	env := func(k string) (string, bool) {
		v, ok := map[string]string{"TOKEN": "hunter2", "CREDENTIALS_DIRECTORY": dir}[k]
		return v, ok
	}
	for _, s := range []Secret{
		NewSecret(SecretEnv, "TOKEN"), NewSecret(SecretFile, filepath.Join(dir, "token")), NewSecret(SecretCredential, "token"),
	} {
		v, err := s.Resolve(env)
		if err != nil || v.Reveal() != "hunter2" {
			t.Errorf("%v, %q", err, v.Reveal())
		}
		for _, x := range []any{v, &v, []Value{v}, map[string]Value{"a": v}, struct{ V Value }{v}, struct{ v Value }{v}, s, Setting{Secret: &s}} {
			j, _ := json.Marshal(x)
			y, _ := yaml.Marshal(x)
			out := string(j) + string(y)
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
				out += fmt.Sprintf(verb, x)
			}
			if strings.Contains(out, "hunter2") || strings.Contains(out, fmt.Sprintf("%x", "hunter2")) {
				t.Errorf("%T shows the secret: %s", x, out)
			}
		}
		if got := fmt.Sprintf("%v %+v %#v %s %d %x", v, v, v, v, v, v); got != "*** *** *** *** *** ***" {
			t.Errorf("prints %q", got)
		}
	}
	for _, s := range []Secret{
		{}, NewSecret(SecretEnv, "NONE"), NewSecret(SecretFile, filepath.Join(dir, "none")), NewSecret(SecretCredential, "../token"), NewSecret(SecretCredential, ".."),
	} {
		if v, err := s.Resolve(env); err == nil {
			t.Errorf("a secret that is nowhere gives %q", v.Reveal())
		}
	}
}

func TestReport(t *testing.T) {
	s, _ := LoadFiles(readTree(t, "testdata/design"))
	inv := inventory.Merge([]inventory.Report{s.Report()}, inventory.MergeOptions{Precedence: s.Settings.Precedence})
	if len(inv.Assets) != 5 || len(inv.Conflicts) != 0 {
		t.Errorf("%+v", inv)
	}
}

func TestCheckTypes(t *testing.T) {
	s, _ := LoadFiles(readTree(t, "testdata/design"))
	if d := s.CheckTypes([]string{"aws", "nftables"}, []string{"neighbor"}); d.Len() != 0 {
		t.Error(d.Text(s.Source))
	}
	d := s.CheckTypes([]string{"nftable"}, []string{"neighbour"}).All()
	if len(d) != 3 || d[0].Error() != `bulkhead.yaml:3:13: error: unknown driver "nftables"` || d[2].Hint != `did you mean "neighbour"?` {
		t.Errorf("%+v", d)
	}
}

// A small file must not become a large site through aliases.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("assets:\n  a: &a {kind: vm, labels: {")
	for i := range 2000 {
		fmt.Fprintf(&b, "l%d: x, ", i)
	}
	b.WriteString("}}\n")
	for i := range 2000 {
		fmt.Fprintf(&b, "  b%d: *a\n", i)
	}
	start := time.Now()
	if _, msg := one(b.String()); !strings.Contains(msg, "too large once its aliases are expanded") || strings.Contains(msg, "\n") {
		t.Errorf("%.200s", msg)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %s", d)
	}
}

// What is kept of the past has a default, and may be said in days.
func TestHistory(t *testing.T) {
	s, said := one("points: {}\n")
	if want := (History{100, 90 * 24 * time.Hour, 10_000}); said != "" || s.Settings.History != want {
		t.Errorf("%+v %s", s.Settings.History, said)
	}
	s, said = one("history: {keep_last: 5, keep_within: 30d, keep_most: 50}\n")
	if want := (History{5, 30 * 24 * time.Hour, 50}); said != "" || s.Settings.History != want {
		t.Errorf("%+v %s", s.Settings.History, said)
	}
	if _, said = one("history: {keep_last: 1, keep_within: long, keep_lest: 4}\n"); !strings.Contains(said, "from 2 to") || !strings.Contains(said, "length of time") || !strings.Contains(said, "keep_lest") {
		t.Error(said)
	}
}
