package plan_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/prove"
)

var update = flag.Bool("update", false, "write the golden renderings anew")

// small is a plan with something in every section. mark goes through every string
// that can come from a file, a device or an error.
func small(mark func(string) string) *plan.Plan {
	a := netip.MustParseAddr
	wrong := prove.Counterexample{Situation: driver.Situation{Point: mark("gw"), Hook: "forward", Tracking: driver.TrackNew, In: mark("eth1"), SrcPortHi: 65535},
		Src: a("10.0.0.1"), Dst: a("10.0.0.2"), Service: 6<<16 | 102, Passes: true, Native: mark("table inet x"), Policy: mark(`deny "p"`)}
	finding := driver.Finding{Point: mark("gw"), Object: mark("table inet other"), Text: mark("accepts what we drop")}
	p := &plan.Plan{FormatVersion: plan.FormatVersion, Site: mark("plant"), MadeAt: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		PolicyHash: mark("aaaaaaaaaaaaaaaaaaaa"), InventoryHash: mark("bbbbbbbbbbbbbbbbbbbb"),
		Flows: []plan.FlowChange{
			{Permit: true, By: mark(`allow "hmi-to-plc" (policy/plant.yaml:12)`), Policy: mark("hmi-to-plc"), From: []string{mark("hmis")}, To: []string{mark("plcs")}, Services: mark("tcp/102"),
				Sets: []plan.FlowSet{{Src: mark("10.0.0.1"), Dst: mark("10.0.0.2 10.0.0.9")}}, Witness: plan.Witness{Src: mark("10.0.0.1"), Dst: mark("10.0.0.2"), Service: mark("tcp/102")}, Points: []string{mark("gw")}},
			{By: mark("the default of isolated groups"), From: []string{mark("any")}, To: []string{}, Services: mark("any but tcp/102"),
				Sets: []plan.FlowSet{{Src: mark("10.0.0.0/24"), Dst: mark("10.0.1.0/24")}, {Src: mark("2001:db8::/64"), Dst: mark("2001:db8:1::/64")}}, Witness: plan.Witness{Src: mark("10.0.0.7"), Dst: mark("10.0.1.1"), Service: mark("udp/53")}, Points: []string{mark("gw")}},
		},
		Points: []plan.Point{
			{Name: mark("gw"), Driver: mark("nftables"), Device: mark("nftables of this host"), Mode: mark("enforce"), Status: plan.Changes, First: true,
				Ops:   []driver.Op{{ID: mark("1"), Action: driver.Modify, Object: mark("set a"), Before: mark("x"), After: mark("y"), Cause: mark("asset a")}, {ID: "2", Action: driver.Remove, Object: mark("set b"), Before: mark("z")}},
				Usage: []driver.Usage{{Resource: mark("elements"), Used: 3}}, Residue: []driver.Residue{{Point: mark("gw"), Kind: mark("stateless-return"), Text: mark("answers pass")}},
				Essential: []string{mark("arp")}, Failsafe: []string{mark("tcp/22 from 10.0.9.10")}, Notes: []string{mark("what is open stays open")},
				Before: &prove.Result{Point: mark("gw"), Wrong: []prove.Counterexample{wrong}, Findings: []driver.Finding{finding}},
				After:  &prove.Result{Point: mark("gw"), Situations: 4, Pairs: 9, Wrong: []prove.Counterexample{wrong}, Findings: []driver.Finding{finding}}, State: mark("s")},
			{Name: mark("ok"), Device: mark("d"), Mode: mark("observe"), Status: plan.InSync, Ops: []driver.Op{}, Usage: []driver.Usage{}, Residue: []driver.Residue{}, Essential: []string{}, Failsafe: []string{},
				Before: &prove.Result{Proved: true, Situations: 4, Pairs: 9, Wrong: []prove.Counterexample{}, Findings: []driver.Finding{}}, After: &prove.Result{Proved: true, Situations: 4, Pairs: 9, Wrong: []prove.Counterexample{}, Findings: []driver.Finding{}}},
			{Name: mark("down"), Device: mark("d2"), Mode: mark("enforce"), Status: plan.Unreachable, Error: mark("no route"), Ops: []driver.Op{}, Usage: []driver.Usage{}, Residue: []driver.Residue{}, Essential: []string{}, Failsafe: []string{}},
		},
		Brakes:    []plan.Brake{{Name: mark("first-enforcement"), Saw: mark("point gw enforces for the first time")}},
		Tests:     plan.TestSummary{Passed: 3, Failed: []string{mark("office never: 10.0.0.1 is permitted")}},
		Classes:   plan.Size{Assets: 2, Groups: 3, Policies: 1, Classes: 4},
		Sources:   []inventory.Standing{{Source: mark("cloud"), State: inventory.SourceFrozen, Why: mark("it failed: no route to host"), LastGood: time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC), Until: time.Date(2026, 11, 23, 12, 10, 0, 0, time.UTC)}},
		Baseline:  plan.Baseline{Apply: mark("a20261122-120000-001"), At: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)},
		Uncovered: []compile.Uncovered{{Reason: mark("no point is on its path"), Services: mark("any"), From: []string{mark("hmis")}, To: []string{}, Pairs: 1, Src: a("10.0.0.1"), Dst: a("10.0.7.1"), Service: 6<<16 | 443}},
		Conflicts: []inventory.Conflict{{Kind: inventory.AddressHeldTwice, Claims: []inventory.Claim{{Asset: mark("plc-1"), Value: mark("10.0.0.2")}, {Asset: mark("plc-2"), Value: mark("10.0.0.2")}}}},
		Undecided: []plan.Undecided{{Group: mark("g"), Asset: mark("a"), Missing: []string{mark("labels.role")}}, {Group: mark("g"), Asset: mark("b"), Missing: []string{}, Problem: mark("no such overload")}},
		Expiring:  []plan.Expiring{{Policy: mark("timed"), Where: mark("policy/plant.yaml:9"), Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), Unattended: mark("ends on time")}},
		Compared:  []plan.ComparedLabel{{Label: mark("cell"), Several: []string{mark("10.0.0.3")}, Without: []string{mark("plc-3")}}},
		Warnings:  []string{mark("policy/plant.yaml:3:1: no asset has the label")},
	}
	p.ID = mark("0123456789abcdef")
	return p
}

func plain(s string) string { return s }

func renderings(t *testing.T, p *plan.Plan) map[string][]byte {
	t.Helper()
	html, err := plan.HTML(p)
	if err != nil {
		t.Fatal(err)
	}
	js, err := plan.JSON(p)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"txt": plan.Text(p, false), "md": plan.Markdown(p), "html": html, "json": js}
}

// The goldens are for reading: run with -update and look at the difference.
func TestGolden(t *testing.T) {
	for ext, got := range renderings(t, small(plain)) {
		path := filepath.Join("testdata", "small."+ext)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s has changed; look at it, and run the test with -update:\n%s", path, got)
		}
	}
}

// What devices and people may put into a name.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='x`, `]]>`, `</pre></details></style></title>`, `{{.ID}}`, `&lt;b&gt;`,
	"[text](javascript:alert(1))", "![i](https://evil.example/x.png)", "https://evil.example/ www.evil.example", "url(//evil.example)", "<https://evil.example>",
	"\x1b[31mred\x1b]0;title\x07", "\x9b31m", "line\nbreak\r\n# heading\n- item\n\n| a | b |", "\u202egnp.exe", "\u2066x\u2069", "zero\u200bwidth\ufeff", "a\x00b\x7f", "\xff\xfe broken",
	"`code` *bold* _it_ ~~no~~ ~x~", "| cell | cell |", "$x^2$ @all #1 !2", "</summary>", "{{range .}}", "\\", "\\`",
}

// No string of a plan can steer a terminal, open markup or load anything, in any
// of the renderings.
func TestHostileStrings(t *testing.T) {
	for _, bad := range hostile {
		p := small(func(s string) string { return s + " " + bad + " " + s })
		out := renderings(t, p)
		checkText(t, bad, out["txt"])
		checkText(t, bad, bytes.ReplaceAll(bytes.ReplaceAll(out["html"], []byte("\u2212"), nil), []byte("\t"), nil))
		checkText(t, bad, out["md"])
		checkHTML(t, bad, string(out["html"]))
		checkMarkdown(t, bad, string(out["md"]))
		checkJSON(t, bad, out["json"], p)
	}
}

// checkText finds what a terminal or a browser would not show as it is.
func checkText(t *testing.T, bad string, out []byte) {
	t.Helper()
	for _, r := range string(out) {
		if r == unicode.ReplacementChar || r != '\n' && !unicode.IsPrint(r) {
			t.Fatalf("%q: the rendering holds %U", bad, r)
		}
	}
	// With colour, escapes come from us alone: there are as many as without hostile text.
	count := func(mark func(string) string) int { return bytes.Count(plan.Text(small(mark), true), []byte{0x1b}) }
	if a, b := count(plain), count(func(s string) string { return s + bad }); a != b {
		t.Fatalf("%q: %d escapes in colour, %d without it", bad, b, a)
	}
}

var (
	htmlTag     = regexp.MustCompile(`<[^<>]*>`)
	htmlOutside = regexp.MustCompile(`(?i)\s(src|href|action|style|on[a-z]+|background|data|poster|srcset)\s*=`)
)

// skeleton is a page's tags in order: hostile text must not add or change one.
func skeleton(html string) []string { return htmlTag.FindAllString(html, -1) }

func checkHTML(t *testing.T, bad, out string) {
	t.Helper()
	clean := renderings(t, small(plain))["html"]
	if a, b := skeleton(string(clean)), skeleton(out); !reflect.DeepEqual(a, b) {
		t.Fatalf("%q: the page has other tags than without it: %d, %d", bad, len(a), len(b))
	}
	body := out[strings.Index(out, "<body>"):]
	for _, tag := range skeleton(body) {
		if htmlOutside.MatchString(tag) || strings.HasPrefix(strings.ToLower(tag), "<script") {
			t.Fatalf("%q: the page holds the tag %s", bad, tag)
		}
	}
	head := out[:strings.Index(out, "</head>")]
	for _, word := range []string{"<script", "http:", "https:", "url(", "@import", "<link", "<base"} {
		for title := range strings.SplitSeq(head, "\n") {
			if !strings.HasPrefix(title, "<title>") && strings.Contains(strings.ToLower(title), word) {
				t.Fatalf("%q: the page's head holds %s", bad, word)
			}
		}
	}
	checkBalanced(t, out)
}

// checkBalanced holds the page to elements that open and close in pairs.
func checkBalanced(t *testing.T, out string) {
	t.Helper()
	var open []string
	for _, tag := range skeleton(out) {
		name := strings.ToLower(strings.Trim(strings.Fields(tag)[0], "<>/"))
		switch {
		case name == "!doctype" || name == "meta" || name == "br":
		case strings.HasPrefix(tag, "</"):
			if len(open) == 0 || open[len(open)-1] != name {
				t.Fatalf("%s closes %v", tag, open)
			}
			open = open[:len(open)-1]
		default:
			open = append(open, name)
		}
	}
	if len(open) > 0 {
		t.Fatalf("elements stay open: %v", open)
	}
}

func checkMarkdown(t *testing.T, bad, out string) {
	t.Helper()
	clean := string(renderings(t, small(plain))["md"])
	if a, b := strings.Count(clean, "\n"), strings.Count(out, "\n"); a != b {
		t.Fatalf("%q: %d lines of Markdown, %d without it", bad, b, a)
	}
	// Bare markup characters are as many as without hostile text.
	escaped := regexp.MustCompile(`\\[\\` + "`" + `*_\[\]|#!~$]`)
	a, b := escaped.ReplaceAllString(clean, ""), escaped.ReplaceAllString(out, "")
	for _, c := range []string{"\\", "`", "*", "_", "[", "]", "<", ">", "|", "~", "$", "@", "://", "www.", "!"} {
		if strings.Count(a, c) != strings.Count(b, c) {
			t.Fatalf("%q: bare %q appears %d times in Markdown, %d without it", bad, c, strings.Count(b, c), strings.Count(a, c))
		}
	}
}

func checkJSON(t *testing.T, bad string, out []byte, p *plan.Plan) {
	t.Helper()
	var back plan.Plan
	if err := json.Unmarshal(out, &back); err != nil {
		t.Fatalf("%q: %v", bad, err)
	}
	if bytes.Contains(out, []byte(": null")) {
		t.Fatalf("%q: a list is null", bad)
	}
	if back.Points[0].Name != strings.ToValidUTF8(p.Points[0].Name, "\ufffd") {
		if !strings.Contains(bad, "\xff") && !strings.Contains(bad, "\x9b") {
			t.Fatalf("%q came back as %q", p.Points[0].Name, back.Points[0].Name)
		}
	}
}

// Lists are bounded for people and whole in JSON.
func TestBounds(t *testing.T) {
	p := small(plain)
	for len(p.Flows[1].Sets) < 5000 {
		p.Flows[1].Sets = append(p.Flows[1].Sets, p.Flows[1].Sets[1])
		p.Points[0].Ops = append(p.Points[0].Ops, p.Points[0].Ops[0])
		p.Uncovered = append(p.Uncovered, p.Uncovered[0])
	}
	for len(p.Flows) < 3000 {
		p.Flows = append(p.Flows, p.Flows[0])
	}
	plan.SortFlows(p.Flows)
	out := renderings(t, p)
	for ext, most := range map[string]int{"txt": 600, "md": 250} {
		if n := bytes.Count(out[ext], []byte("\n")); n > most {
			t.Errorf("%s has %d lines", ext, n)
		}
		if !bytes.Contains(out[ext], []byte("more")) {
			t.Errorf("%s does not say that it left something out", ext)
		}
	}
	var back plan.Plan
	if err := json.Unmarshal(out["json"], &back); err != nil || len(back.Flows) != len(p.Flows) || len(back.Uncovered) != len(p.Uncovered) {
		t.Errorf("JSON lost something: %v", err)
	}
	checkBalanced(t, string(out["html"]))
}

// A plan's ID changes with what it would do, and not with the time it was made.
func TestSeal(t *testing.T) {
	a, b, c := small(plain), small(plain), small(plain)
	b.MadeAt, b.Points[0].Notes = b.MadeAt.Add(time.Hour), nil
	c.Points[1].State = "moved"
	// What a held apply has written down meanwhile makes no other plan; another state of
	// a source does.
	d, e := small(plain), small(plain)
	d.Sources[0].Since, d.Baseline = d.MadeAt, plan.Baseline{Why: "none"}
	e.Sources[0].State = inventory.SourceStale
	// That a point has learnt for another second makes no other plan either.
	f, g := small(plain), small(plain)
	learning := driver.Finding{Object: "set learning", Text: "observing for 20s", Harmless: true, Observing: 20 * time.Second}
	f.Points[0].After.Findings = append(f.Points[0].After.Findings, learning)
	learning.Text, learning.Observing = "observing for 19s", 19*time.Second
	g.Points[0].After.Findings = append(g.Points[0].After.Findings, learning)
	for _, p := range []*plan.Plan{a, b, c, d, e, f, g} {
		if err := p.Seal(); err != nil {
			t.Fatal(err)
		}
	}
	if f.ID != g.ID || f.ID == a.ID {
		t.Errorf("IDs %s, %s (a second later), %s (not learning)", f.ID, g.ID, a.ID)
	}
	if a.ID != d.ID || a.ID == e.ID {
		t.Errorf("IDs %s, %s (known for longer), %s (stale)", a.ID, d.ID, e.ID)
	}
	if a.ID != b.ID || a.ID == c.ID || len(a.ID) != 16 {
		t.Errorf("IDs %s, %s (later), %s (another state)", a.ID, b.ID, c.ID)
	}
}

// A device that ends no live flows is not said to.
func TestLiveFlows(t *testing.T) {
	p := small(plain)
	p.Points[0].KeepsFlows = true
	if out := string(plan.Text(p, false)); !strings.Contains(out, "newly denied (live flows of these end, but not at gw, see the notes there)") {
		t.Error(out)
	}
	for i := range p.Points {
		p.Points[i].KeepsFlows = true
	}
	if out := string(plan.Text(p, false)); !strings.Contains(out, "newly denied (live flows of these go on, see the notes of the points)") {
		t.Error(out)
	}
}

// What a proof leaves out is said beside it: others' tables, and what a device cannot
// express.
func TestBesides(t *testing.T) {
	for want, findings := range map[string][]driver.Finding{
		"": {{Object: "table x", Harmless: true}},
		"; table inet x may drop besides, in 2 places (accept_foreign)": {
			{Object: "chain a", Foreign: "inet x", Accepted: true}, {Object: "chain b", Foreign: "inet x", Accepted: true}},
		"; but for what it cannot express, which is accepted: no-multicast, source-port": {
			{Object: "no-multicast", Accepted: true}, {Object: "source-port", Accepted: true}, {Object: "source-port", Accepted: true}},
	} {
		if got := plan.Besides(findings); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
