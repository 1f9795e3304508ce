package file

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"bulkhead/inventory"
	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
)

func TestCSV(t *testing.T) {
	const text = "\xef\xbb\xbfid,kind,addresses,macs,labels.site,attributes.hostname\r\n" +
		"cam-1,iot,10.0.7.1  2001:db8:7::1,00-1B-1B-00-00-01,plant,\"cam, 1\"\r\n" +
		"cam-2,iot,,,,\r\n"
	var diags diag.List
	got := ReadCSV("c.csv", []byte(text), &diags)
	if diags.HasErrors() || len(got) != 2 {
		t.Fatalf("%v, %+v", diags.Err(), got)
	}
	a := got[0]
	if a.ID != "cam-1" || a.Kind != inventory.IoT || len(a.Addresses) != 2 || a.MACs[0] != "00:1b:1b:00:00:01" ||
		a.Labels["site"] != "plant" || a.Attributes["hostname"] != "cam, 1" {
		t.Errorf("%+v", a)
	}
	if p := a.FieldPos(inventory.FieldAddresses, "2001:db8:7::1"); p != (diag.Pos{File: "c.csv", Line: 2, Col: 21}) {
		t.Errorf("the second address is at %+v", p)
	}
	if b := got[1]; b.Labels != nil || b.Addresses != nil {
		t.Errorf("empty cells say something: %+v", b)
	}
}

func TestCSVErrors(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "c.csv:1:1: error: the file is empty"},
		{"no id", "kind\nvm\n", `c.csv:1:1: error: the header has no column "id"`},
		{"unknown column", "id,kind,mac\n", `c.csv:1:9: error: unknown column "mac"`},
		{"twice", "id,kind,id\n", `c.csv:1:9: error: duplicate column "id"`},
		{"label without name", "id,kind,labels.\n", `c.csv:1:9: error: a label needs a name`},
		{"cells", "id,kind\na\n", `c.csv:2:1: error: this row has 1 cells, the header 2`},
		{"kind", "id,kind\na,vms\n", `c.csv:2:3: error: unknown kind "vms"`},
		{"no kind", "id,kind\na,\n", `c.csv:2:1: error: asset "a" has no kind`},
		{"id", "id,kind\n10.0.0.1,vm\n", `c.csv:2:1: error: the ID "10.0.0.1" is an address; give the asset a name`},
		{"no id in row", "id,kind\n,vm\n", `c.csv:2:1: error: an asset needs an ID that is not empty`},
		{"quotes", "id,kind\n\"a,vm\n", `c.csv:2:6: error: not valid CSV: extraneous or missing " in quoted-field`},
		{
			"several in one cell, after wide characters", "labels.é,id,kind,addresses\n",
			`c.csv:1:1: error: the name of a label "é" holds 'é'`,
		},
		{
			"every mistake of a row", "labels.x,id,kind,addresses,macs\né,a,vms,10.0.0.x 10.0.0.1 10.0.0.1,q\n",
			"c.csv:2:5: error: unknown kind \"vms\"\n" +
				"c.csv:2:9: error: \"10.0.0.x\" is not an IPv4 or IPv6 address\n" +
				"c.csv:2:27: error: address \"10.0.0.1\" is given twice\n" +
				"c.csv:2:36: error: \"q\" is not a MAC address; write six pairs of hexadecimal digits, \"00:1b:1b:12:34:56\"",
		},
	} {
		var diags diag.List
		ReadCSV("c.csv", []byte(tc.text), &diags)
		var got []string
		for _, d := range diags.All() {
			got = append(got, d.Error())
		}
		if s := strings.Join(got, "\n"); s != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, s, tc.want)
		}
	}
}

func TestYAML(t *testing.T) {
	const text = "assets:\n  a:\n    kind: vm\n    labels: {n: 3, v: 1.10, b: true, t: 2026-01-01}\n    attachments: [{}]\n"
	var doc yaml.Node
	if err := yaml.Load([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	var diags diag.List
	var got []inventory.Asset
	d := &strict.Decoder{File: "a.yaml", Diags: &diags}
	Assets(func(a inventory.Asset) { got = append(got, a) }).Read(d, doc.Content[0].Content[1])
	if len(got) != 1 || got[0].Labels["n"] != "3" || got[0].Labels["v"] != "1.10" || got[0].Labels["b"] != "true" || got[0].Labels["t"] != "2026-01-01" {
		t.Errorf("%+v", got)
	}
	if diags.Len() != 1 || diags.All()[0].Pos.Line != 5 {
		t.Errorf("%v", diags.All())
	}
}

func TestCheckID(t *testing.T) {
	for _, id := range []string{"plc-7", "i-0abc", "ns/pod", "user@example", "mac-00:1b:1b:00:00:01", "a.b_c"} {
		if err := CheckID(id); err != nil {
			t.Errorf("CheckID(%q): %v", id, err)
		}
	}
	for _, id := range []string{"", "a b", "10.0.0.1", "10.0.0.0/8", "2001:db8::1", "a\x1b", "é", strings.Repeat("x", 254)} {
		if CheckID(id) == nil {
			t.Errorf("CheckID(%q) passes", id)
		}
	}
}

func FuzzCSV(f *testing.F) {
	f.Add("id,kind,addresses,macs,labels.x\na,vm,10.0.0.1 ::1,00:1b:1b:00:00:01,y\n")
	f.Add("id,kind\n\"a\nb\",vm\n")
	f.Add("\xef\xbb\xbfid,kind\r\na,vm")
	f.Add("id,kind,labels.\xff\n")
	f.Fuzz(func(t *testing.T, text string) {
		var diags diag.List
		got := ReadCSV("f", []byte(text), &diags)
		lines := strings.Count(text, "\n") + 1
		for _, d := range diags.All() {
			if d.Pos.Line < 1 || d.Pos.Line > lines || d.Pos.Col < 1 {
				t.Fatalf("%+v lies outside the file", d)
			}
		}
		_ = diags.Text(func(string) []byte { return []byte(text) })
		for _, a := range got {
			if CheckID(a.ID) != nil {
				t.Fatalf("asset with ID %q", a.ID)
			}
			for _, p := range a.Addresses {
				if p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
					t.Fatalf("asset with address %v", p)
				}
			}
		}
	})
}
