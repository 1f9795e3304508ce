package classify

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/inventory"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/policy"
)

func plant() []inventory.Asset {
	host := func(s string) netip.Prefix { return netip.MustParsePrefix(s) }
	return []inventory.Asset{
		{
			ID: "plc-7", Kind: inventory.OT, Addresses: []netip.Prefix{host("10.20.3.7/32"), host("2001:db8:3::7/128")},
			MACs: []string{"00:1b:1b:12:34:56"}, Labels: map[string]string{"cell": "3"},
			Attributes: map[string]string{"vendor": "Siemens", "hostname": "plc-7"},
			Facts:      []inventory.Fact{{Source: "files"}, {Source: "neighbours", Evidence: true}},
		},
		{ID: "hmi-3", Kind: inventory.Server, Addresses: []netip.Prefix{host("10.20.3.9/32")}, Labels: map[string]string{"cell": "3", "role": "hmi"}},
		{ID: "lan", Kind: inventory.Network, Addresses: []netip.Prefix{host("10.20.0.0/16")}},
		{ID: "bare", Kind: inventory.VM},
	}
}

func TestMatch(t *testing.T) {
	assets := plant()
	for _, tc := range []struct{ expr, want, missing string }{
		{`true`, "plc-7 hmi-3 lan bare", ""},
		{`kind == "ot"`, "plc-7", ""},
		{`"ot" == kind`, "plc-7", ""},
		{`kind in ["ot", "server"]`, "plc-7 hmi-3", ""},
		{`kind != "ot"`, "hmi-3 lan bare", ""},
		{`id.startsWith("plc-")`, "plc-7", ""},
		{`labels.cell == "3"`, "plc-7 hmi-3", "lan bare"},
		{`labels["cell"] == "3" && kind == "ot"`, "plc-7", ""},
		{`labels.cell != "4"`, "plc-7 hmi-3", "lan bare"},
		{`!(labels.cell == "4")`, "plc-7 hmi-3", "lan bare"},
		{`has(labels.cell)`, "plc-7 hmi-3", ""},
		{`!has(labels.cell)`, "lan bare", ""},
		{`"cell" in labels`, "plc-7 hmi-3", ""},
		{`has(labels.role) && labels.role == "hmi"`, "hmi-3", ""},
		{`kind == "network" || labels.role == "hmi"`, "hmi-3 lan", "plc-7 bare"},
		{`addresses.within("10.20.3.0/24")`, "plc-7 hmi-3", ""},
		{`addresses.within("10.20.0.0/16")`, "plc-7 hmi-3 lan", ""},
		{`addresses.within("2001:db8::/32")`, "plc-7", ""},
		{`addresses.within("10.20.3.7")`, "plc-7", ""},
		{`size(addresses) == 0`, "bare", ""},
		{`"10.20.3.9" in addresses`, "hmi-3", ""},
		{`addresses.exists(a, a.endsWith(".9"))`, "hmi-3", ""},
		{`macs.exists(m, m.startsWith("00:1b:1b"))`, "plc-7", ""},
		{`"files" in sources`, "plc-7", ""},
		{`"neighbours" in sources`, "", ""}, // only evidence
		{`attributes.hostname.startsWith("plc-")`, "plc-7", "hmi-3 lan bare"},
		{`labels.cell == "3" ? kind == "ot" : false`, "plc-7", "lan bare"},
	} {
		var member, missing []string
		for i := range assets {
			v, diags := Match(Expr{Text: tc.expr}, &assets[i])
			if diags.HasErrors() {
				t.Fatalf("%s: %v", tc.expr, diags.Err())
			}
			if v.Member {
				member = append(member, assets[i].ID)
			}
			if v.Missing != nil {
				missing = append(missing, assets[i].ID)
			}
			if v.Problem != "" {
				t.Errorf("%s on %s: %s", tc.expr, assets[i].ID, v.Problem)
			}
		}
		if got := strings.Join(member, " "); got != tc.want {
			t.Errorf("%s: members %q, want %q", tc.expr, got, tc.want)
		}
		if got := strings.Join(missing, " "); got != tc.missing {
			t.Errorf("%s: undecided %q, want %q", tc.expr, got, tc.missing)
		}
	}
}

// Only what decides is named as missing.
func TestMissingNames(t *testing.T) {
	a := &inventory.Asset{ID: "a", Kind: inventory.VM, Labels: map[string]string{"x": "1"}}
	for expr, want := range map[string][]string{
		`labels.y == "1"`:                                       {"labels.y"},
		`labels.y == "1" && labels.z == "1"`:                    {"labels.y", "labels.z"},
		`labels.y == "1" && labels.x == "2"`:                    nil,
		`labels.y == "1" || labels.x == "1"`:                    nil,
		`(labels.y == "1" && kind == "ot") || labels.z == "1"`:  {"labels.z"},
		`attributes["a/b"] == "1" || labels.x == "2"`:           {"attributes.a/b"},
		`labels.y.startsWith("a") && has(labels.q) == false`:    {"labels.y"},
		`["y", "x"].all(k, labels[k] == "1") && labels.w == ""`: {"labels.w"},
	} {
		v, diags := Match(Expr{Text: expr}, a)
		if diags.HasErrors() {
			t.Fatalf("%s: %v", expr, diags.Err())
		}
		if !reflect.DeepEqual(v.Missing, want) {
			t.Errorf("%s: missing %q, want %q (%s)", expr, v.Missing, want, v.Problem)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	at := diag.Pos{File: "p.yaml", Line: 10, Col: 20}
	for _, tc := range []struct {
		expr, message, hint string
		line, col           int
	}{
		{`lables.x == "y"`, `unknown variable "lables"`, `did you mean "labels"?`, 10, 20},
		{`kind == ot`, `unknown variable "ot"`, `in quotes: "ot"`, 10, 28},
		{`kind == server`, `unknown variable "server"`, `text is written in quotes: "server"`, 10, 28},
		{`kind.startswith("x")`, `unknown function "startswith"`, `did you mean "startsWith"?`, 10, 0},
		{"kind ==\n  foobar", `unknown variable "foobar"`, "quotes", 11, 22},
		{`kind = "x"`, `not a valid expression`, `"=="`, 10, 25},
		{`labels.x`, `gives string`, "compare", 10, 20},
		{`labels.x == 3`, `cannot be applied`, "quotes", 10, 29},
		{`addresses.within("10.0.0.1/8")`, `bits set beyond`, "", 10, 37},
		{`id.matches("[")`, `not a valid expression`, "", 10, 0},
		{strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100), `not a valid expression`, "", 10, 0},
	} {
		_, diags := Compile(&policy.Rulebook{Groups: []policy.Group{{Name: "g", Where: tc.expr, WherePos: at}}}, nil)
		all := diags.All()
		if len(all) == 0 {
			t.Errorf("%s: no error", tc.expr)
			continue
		}
		d := all[0]
		if !strings.Contains(d.Message, tc.message) || !strings.Contains(d.Hint, tc.hint) {
			t.Errorf("%s: %q, hint %q", tc.expr, d.Message, d.Hint)
		}
		if d.Pos.Line != tc.line || tc.col != 0 && d.Pos.Col != tc.col {
			t.Errorf("%s: at %d:%d, want %d:%d", tc.expr, d.Pos.Line, d.Pos.Col, tc.line, tc.col)
		}
	}
}

func TestUnknownFunctionPosition(t *testing.T) {
	at := diag.Pos{File: "p.yaml", Line: 1, Col: 1}
	_, diags := Compile(&policy.Rulebook{}, map[string]Expr{"point": {`kind.startswith("x")`, at}})
	src := func(string) []byte { return []byte(`kind.startswith("x")`) }
	want := "p.yaml:1:6: error: unknown function \"startswith\"\n    kind.startswith(\"x\")\n         ^~~~~~~~~~\n  hint: did you mean \"startsWith\"?\n"
	if got := diags.Text(src); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWarnings(t *testing.T) {
	book := &policy.Rulebook{
		Groups: []policy.Group{
			{Name: "a", Where: `labels.cel == "3"`, WherePos: diag.Pos{File: "p", Line: 1, Col: 1}},
			{Name: "b", Where: `has(labels.vendor) || "nothing" in attributes`, WherePos: diag.Pos{File: "p", Line: 2, Col: 1}},
			{Name: "c", Where: `kind == "sever"`, WherePos: diag.Pos{File: "p", Line: 3, Col: 1}},
		},
		Policies: []policy.Policy{{Name: "p", Same: []string{"rolle"}, Pos: diag.Pos{File: "p", Line: 4, Col: 3}}},
	}
	c, diags := Compile(book, nil)
	diags.Append(c.Classify(plant()).Warnings)
	src := func(string) []byte {
		return []byte("labels.cel == \"3\"\nhas(labels.vendor) || \"nothing\" in attributes\nkind == \"sever\"\n- name: p\n")
	}
	want := `p:1:8: warning: no asset has the label "cel"
    labels.cel == "3"
           ^~~
  hint: did you mean "cell"?
p:2:12: warning: no asset has the label "vendor"
    has(labels.vendor) || "nothing" in attributes
               ^~~~~~
  hint: did you mean "attributes.vendor"?
p:2:24: warning: no asset has the attribute "nothing"
    has(labels.vendor) || "nothing" in attributes
                           ^~~~~~~
p:3:9: warning: there is no kind "sever"
    kind == "sever"
            ^~~~~~~
  hint: did you mean "server"?
p:4:3: warning: no asset has the label "rolle"
    - name: p
      ^
  hint: did you mean "role"?
`
	if got := diags.Text(src); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCostLimit(t *testing.T) {
	a := &inventory.Asset{ID: "a", Kind: inventory.VM}
	for range 3000 {
		a.MACs = append(a.MACs, "00:1b:1b:12:34:56")
	}
	v, diags := Match(Expr{Text: `macs.all(m, macs.all(n, m == n))`}, a)
	if diags.HasErrors() {
		t.Fatal(diags.Err())
	}
	if v.Member || v.Problem == "" {
		t.Errorf("an expression without end gave %+v", v)
	}
}

// genExpr makes expressions that mix what the index knows with what it does not.
func genExpr(t *rapid.T, depth int) string {
	field := func() string {
		return rapid.SampledFrom([]string{"kind", "id", "labels.a", "labels.b", `labels["c/d"]`, "attributes.a"}).Draw(t, "field")
	}
	value := func() string {
		return fmt.Sprintf("%q", rapid.SampledFrom([]string{"1", "2", "vm", "ot", "id-1", ""}).Draw(t, "value"))
	}
	n := 6
	if depth > 0 {
		n = 10
	}
	switch rapid.IntRange(0, n).Draw(t, "form") {
	case 0, 1:
		return field() + " == " + value()
	case 2:
		return value() + " == " + field()
	case 3:
		return field() + " in [" + value() + ", " + value() + "]"
	case 4:
		return "has(labels." + rapid.SampledFrom([]string{"a", "b"}).Draw(t, "has") + ")"
	case 5:
		return field() + " != " + value()
	case 6:
		return field() + ".startsWith(" + value() + ")"
	case 7, 8:
		return "(" + genExpr(t, depth-1) + " && " + genExpr(t, depth-1) + ")"
	case 9:
		return "(" + genExpr(t, depth-1) + " || " + genExpr(t, depth-1) + ")"
	}
	return "!(" + genExpr(t, depth-1) + ")"
}

func genAssets(t *rapid.T) []inventory.Asset {
	var out []inventory.Asset
	for i := range rapid.IntRange(0, 12).Draw(t, "assets") {
		a := inventory.Asset{ID: fmt.Sprintf("id-%d", i), Kind: rapid.SampledFrom([]inventory.Kind{"vm", "ot"}).Draw(t, "kind")}
		a.Labels, a.Attributes = map[string]string{}, map[string]string{}
		for _, k := range []string{"a", "b", "c/d"} {
			if v := rapid.SampledFrom([]string{"-", "", "1", "2"}).Draw(t, k); v != "-" {
				a.Labels[k] = v
			}
		}
		if rapid.Bool().Draw(t, "attribute") {
			a.Attributes["a"] = "1"
		}
		out = append(out, a)
	}
	return out
}

// The index must say what plain CEL says, of members and of the undecided.
func TestIndexEqualsPlain(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		book := &policy.Rulebook{}
		for i := range 4 {
			book.Groups = append(book.Groups, policy.Group{Name: fmt.Sprint("g", i), Where: genExpr(t, 3)})
		}
		assets := genAssets(t)
		c, diags := Compile(book, map[string]Expr{"point": {Text: genExpr(t, 2)}})
		if diags.HasErrors() {
			t.Fatalf("%v", diags.Err())
		}
		plain := *c
		plain.plain = true
		fast, slow := c.Classify(assets), plain.Classify(assets)
		fast.Warnings, slow.Warnings = nil, nil
		if !reflect.DeepEqual(fast, slow) {
			t.Fatalf("index %+v\nplain %+v", fast, slow)
		}
		checkIncremental(t, c, assets, fast)
	})
}

// checkIncremental classifies one asset after the other into a result that
// began with all of them wrong.
func checkIncremental(t *rapid.T, c *Classifier, assets []inventory.Asset, want *Result) {
	wrong := make([]inventory.Asset, len(assets))
	for i := range assets {
		wrong[i] = inventory.Asset{ID: assets[i].ID, Kind: inventory.IoT, Labels: map[string]string{"a": "1"}}
	}
	got := c.Classify(wrong)
	for i := range assets {
		got = got.With(c.Reclassify(&assets[i]))
	}
	got.Warnings = nil
	if !reflect.DeepEqual(got.Matches, want.Matches) || !reflect.DeepEqual(got.Extra, want.Extra) || !slices.EqualFunc(got.Undecided, want.Undecided, func(a, b Undecided) bool { return reflect.DeepEqual(a, b) }) {
		t.Fatalf("one by one %+v\nat once %+v", got, want)
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	c, _ := Compile(&policy.Rulebook{Groups: []policy.Group{{Name: "g", Where: `labels.cell == "3" || kind == "vm"`}}}, nil)
	assets := plant()
	want := c.Classify(assets)
	slices.Reverse(assets)
	got := c.Classify(assets)
	if !reflect.DeepEqual(got.Matches, want.Matches) || !reflect.DeepEqual(got.Undecided, want.Undecided) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func FuzzWhere(f *testing.F) {
	for _, s := range []string{
		`kind == "ot" && attributes.vendor == "Siemens"`, `labels.cell in ["3"] || has(labels.x)`, `addresses.within("10.0.0.0/8")`,
		`macs.exists(m, m == "x")`, `lables.x`, `"`, `kind ==`, `id.matches("a*")`, `[1,2].map(x, x*2).size() > 1`, `{"a": labels.b}["a"] == "c"`,
	} {
		f.Add(s)
	}
	assets := plant()
	f.Fuzz(func(t *testing.T, s string) {
		c, diags := Compile(&policy.Rulebook{Groups: []policy.Group{{Name: "g", Where: s, WherePos: diag.Pos{File: "f", Line: 1, Col: 1}}}}, nil)
		_ = diags.Text(func(string) []byte { return []byte(s) })
		if diags.HasErrors() {
			return
		}
		plain := *c
		plain.plain = true
		fast, slow := c.Classify(assets), plain.Classify(assets)
		if !reflect.DeepEqual(fast.Matches, slow.Matches) || !reflect.DeepEqual(fast.Undecided, slow.Undecided) {
			t.Fatalf("%q: index %+v, plain %+v", s, fast, slow)
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	var assets []inventory.Asset
	for i := range 10_000 {
		assets = append(assets, inventory.Asset{
			ID: fmt.Sprint("a", i), Kind: inventory.VM, Labels: map[string]string{"app": fmt.Sprint(i % 1000), "env": fmt.Sprint(i % 3)},
		})
	}
	book := &policy.Rulebook{}
	for i := range 1000 {
		book.Groups = append(book.Groups, policy.Group{Name: fmt.Sprint("g", i), Where: fmt.Sprintf(`kind == "vm" && labels.app == "%d"`, i)})
	}
	c, diags := Compile(book, nil)
	if diags.HasErrors() {
		b.Fatal(diags.Err())
	}
	for b.Loop() {
		c.Classify(assets)
	}
}

// One asset is held against the rules that its own labels lead to, not against all.
func TestOneAssetAsksFewRules(t *testing.T) {
	book := &policy.Rulebook{Groups: []policy.Group{{Name: "all", Where: `addresses.within("10.0.0.0/8")`}, {Name: "labelled", Where: `has(labels.env)`}}}
	for i := range 300 {
		book.Groups = append(book.Groups, policy.Group{Name: fmt.Sprint("g", i), Where: fmt.Sprintf(`kind == "vm" && labels.app == "%d"`, i)},
			policy.Group{Name: fmt.Sprint("h", i), Where: fmt.Sprintf(`labels.app == "%d" && labels.env in ["1", "2"]`, i)})
	}
	c, diags := Compile(book, nil)
	if diags.HasErrors() {
		t.Fatal(diags.Err())
	}
	a := &inventory.Asset{ID: "a", Kind: inventory.OT, Labels: map[string]string{"app": "7", "env": "3"}}
	// Two conjunctions of the app, and the two that look at everybody. Kinds and envs
	// have at most one rule more than an app has: so many conjunctions stand there.
	if n := len(c.index.concern(a)); n > 8 {
		t.Errorf("%d of %d rules are asked for one asset", n, len(c.rules))
	}
}
