package session

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"github.com/Juniper/go-netconf/netconf"
)

// What is not one well-formed element of a bearable depth is no message.
func TestParseRefuses(t *testing.T) {
	for _, bad := range []string{
		"", " ", "a", "<a>", "</a>", "<a/><b/>", "<a/>b", "a<b/>", "<!DOCTYPE a><a/>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "<a>&b;</a>", "<a b='1' b='2'/>", "<a></b>",
		"<a><b></a></b>", "<a b=c/>", "<a>\x00</a>", "<a>\xff</a>", strings.Repeat("<a>", 21) + strings.Repeat("</a>", 21), "<?xml version='1.0' encoding='latin1'?><a/>",
	} {
		if m, err := parse([]byte(bad), 20); err == nil {
			t.Errorf("%q is taken for %q", bad, m.root.Name.Local)
		}
	}
	if _, err := parse([]byte(strings.Repeat("<a>", 20)+strings.Repeat("</a>", 20)), 20); err != nil {
		t.Error(err)
	}
}

// A part of a message that is taken out means what it meant in it.
func TestDocument(t *testing.T) {
	m, err := parse([]byte(xml.Header+`<nc:rpc-reply xmlns:nc="`+nsBase+`" xmlns="urn:a" xmlns:b="urn:b&quot;" message-id="1"><nc:data xmlns:b="urn:c" x="y"><e><b:f xmlns:d="urn:d">d:g</b:f></e></nc:data><nc:ok/></nc:rpc-reply>`), 20)
	if err != nil {
		t.Fatal(err)
	}
	var x struct {
		XMLName xml.Name
		E       struct {
			XMLName xml.Name
			F       struct {
				XMLName xml.Name
				Text    string `xml:",chardata"`
			} `xml:"f"`
		} `xml:"e"`
	}
	doc := m.document(m.children[0])
	if err := xml.Unmarshal(doc, &x); err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	if x.XMLName != (xml.Name{Space: nsBase, Local: "data"}) || x.E.XMLName.Space != "urn:a" || x.E.F.XMLName.Space != "urn:c" || x.E.F.Text != "d:g" {
		t.Errorf("%s means %+v", doc, x)
	}
	if got := string(m.document(m.children[1])); !strings.HasSuffix(got, "></nc:ok>") {
		t.Errorf("an empty one is %s", got)
	}
	if string(m.inner) != string(m.children[0].raw)+string(m.children[1].raw) {
		t.Errorf("what the reply holds is %s", m.inner)
	}
}

// Errors count whatever namespace they are in, and what is no warning is an error.
func TestReadErrors(t *testing.T) {
	m, err := parse([]byte(`<rpc-reply xmlns="`+nsBase+`"><rpc-error xmlns=""><error-tag>a</error-tag></rpc-error><x:rpc-error xmlns:x="urn:x"><x:error-severity> warning </x:error-severity></x:rpc-error>`+
		`<rpc-error><error-severity>Warning</error-severity><error-info><session-id> 7 </session-id><z/></error-info></rpc-error></rpc-reply>`), 20)
	if err != nil {
		t.Fatal(err)
	}
	errs, warnings, err := readErrors(m)
	if err != nil || len(errs) != 2 || len(warnings) != 1 || errs[0].Tag != "a" || errs[1].SessionID != "7" || !strings.Contains(errs[1].Info, "<z/>") {
		t.Errorf("%v, %v, %v", errs, warnings, err)
	}
}

// The server's hello, or none.
func TestHelloRefused(t *testing.T) {
	hello := func(id string, caps ...string) string {
		return `<hello xmlns="` + nsBase + `"><capabilities><capability>` + strings.Join(caps, "</capability><capability>") + `</capability></capabilities>` + id + `</hello>` + endOfMessage
	}
	const id = "<session-id>4294967295</session-id>"
	for name, stream := range map[string]string{
		"nothing":          "",
		"cut":              hello(id, base10)[:40],
		"no XML":           "Last login: today\n$ " + endOfMessage,
		"another element":  `<rpc-reply xmlns="` + nsBase + `"/>` + endOfMessage,
		"no namespace":     `<hello/>` + endOfMessage,
		"no session-id":    hello("", base10),
		"session-id 0":     hello("<session-id>0</session-id>", base10),
		"session-id large": hello("<session-id>4294967296</session-id>", base10),
		"no version":       hello(id, "urn:ietf:params:netconf:base:2.0"),
		"no 1.0":           hello(id, base11),
	} {
		var sent bytes.Buffer
		w := newWire(both{strings.NewReader(stream), func(b []byte) { sent.Write(b) }}, Options{Base10: true}.withDefaults(), func() {}, func() {})
		s := netconf.NewSession(w)
		if w.helloErr == nil || sent.Len() > 0 {
			t.Errorf("%s: %v, and %q was sent", name, w.helloErr, sent.String())
		}
		if s.SessionID != 0 {
			t.Errorf("%s: session %d", name, s.SessionID)
		}
	}
}

// Between the hello and the first rpc there is a rest: the server that reads both at once
// loses the rpc. The rest is ours to the end of the hello, and both are writes of their own.
func TestRestAfterHello(t *testing.T) {
	var order []string
	out := writes(func(b []byte) { order = append(order, string(b)) })
	in := strings.NewReader(`<hello xmlns="` + nsBase + `"><capabilities><capability> ` + base11 + "\n</capability></capabilities><session-id>\n1</session-id></hello>" + endOfMessage)
	w := newWire(both{in, out}, Options{}.withDefaults(), func() { order = append(order, "rest") }, func() {})
	s := netconf.NewSession(w)
	if w.helloErr != nil {
		t.Fatal(w.helloErr)
	}
	w.end(nil)
	s.Exec(netconf.RawMethod("<a/>"))
	if len(order) != 3 || !strings.Contains(order[0], "hello") || order[1] != "rest" || !strings.Contains(order[2], "<a/>") || !strings.HasPrefix(order[2], "\n#") {
		t.Errorf("sent %q", order)
	}
	if settle != 50*time.Millisecond || (Options{}).withDefaults().Rest != settle {
		t.Errorf("the rest is %v", settle)
	}
}

type writes func([]byte)

func (w writes) Write(b []byte) (int, error) { w(b); return len(b), nil }

type both struct {
	*strings.Reader
	writes
}

func (b both) Write(p []byte) (int, error) { return b.writes.Write(p) }

func FuzzReply(f *testing.F) {
	f.Add([]byte(`<rpc-reply xmlns="` + nsBase + `" message-id="1"><ok/></rpc-reply>`))
	f.Add([]byte(`<rpc-reply xmlns="` + nsBase + `"><rpc-error><error-tag>in-use</error-tag><error-severity>error</error-severity><error-info><session-id>4</session-id></error-info></rpc-error></rpc-reply>`))
	f.Add([]byte(`<notification xmlns="` + nsNotification + `"><eventTime>2026-01-01T00:00:00.5Z</eventTime><e xmlns="urn:e"/></notification>`))
	f.Add([]byte(`<a:b xmlns:a="` + nsBase + `"><a:data c="d" xmlns:e="f"><e:g/></a:data></a:b>`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parse(raw, 50)
		if err != nil {
			return
		}
		for _, c := range m.children {
			doc := m.document(c)
			again, err := parse(doc, 50)
			if err != nil {
				t.Fatalf("%q of %q: %v", doc, raw, err)
			}
			if again.root.Name != c.start.Name || !bytes.Equal(again.inner, c.inner) {
				t.Fatalf("%q of %q is something else", doc, raw)
			}
		}
		errs, warnings, err := readErrors(m)
		n := 0
		for _, c := range m.children {
			if c.start.Name.Local == "rpc-error" {
				n++
			}
		}
		if err == nil && len(errs)+len(warnings) != n {
			t.Fatalf("%d errors and %d warnings of %d", len(errs), len(warnings), n)
		}
		for _, e := range errs {
			_ = e.Error()
		}
		readNotification(m)
	})
}

func FuzzFragment(f *testing.F) {
	f.Add([]byte(`<a xmlns="b"/><c>d</c>`))
	f.Add([]byte(`</config><config>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if fragment(b) != nil {
			return
		}
		// In the element that it is put into, it ends before the element does.
		m, err := parse([]byte("<x><y>"+string(b)+"</y><z/></x>"), 10000)
		if err != nil {
			return // not more than what it was: a colon too many
		}
		if len(m.children) != 2 || !bytes.Equal(m.children[0].inner, b) || m.children[1].start.Name.Local != "z" {
			t.Fatalf("%q leaves its element", b)
		}
	})
}
