package ovs

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// document is a configuration with one list, swp1 in, whose only entry matches as told.
func document(kind, matches string) string {
	return `<acls xmlns="` + aclSpace + `" xmlns:a="` + aclSpace + `"><acl><name>L</name><type>a:` + kind + `</type><aces><ace><name>r</name><matches>` + matches +
		`</matches><actions><forwarding>a:accept</forwarding></actions></ace></aces></acl><attachment-points><interface><interface-id>swp1</interface-id>` +
		`<ingress><acl-sets><acl-set><name>L</name></acl-set></acl-sets></ingress></interface></attachment-points></acls>`
}

func TestFromRFC8519(t *testing.T) {
	got, err := FromRFC8519([]byte(`<rpc-reply xmlns="urn:ietf:params:xml:ns:netconf:base:1.0" message-id="4"><data>
<interfaces xmlns="urn:ietf:params:xml:ns:yang:ietf-interfaces"><interface><name>swp2</name></interface></interfaces>
<acls xmlns="urn:ietf:params:xml:ns:yang:ietf-access-control-list" xmlns:acl="urn:ietf:params:xml:ns:yang:ietf-access-control-list">
 <attachment-points><interface><ingress><acl-sets>
   <acl-set><name>four</name></acl-set><acl-set><name>six</name></acl-set></acl-sets></ingress>
   <egress><acl-sets><acl-set><name>six</name></acl-set></acl-sets></egress><interface-id>swp2</interface-id></interface>
   <interface><interface-id>swp3</interface-id></interface></attachment-points>
 <acl><aces>
  <ace><name>r10</name><matches><ipv4><protocol>6</protocol><destination-ipv4-network>10.0.2.0/24</destination-ipv4-network><source-ipv4-network>10.0.1.7/24</source-ipv4-network></ipv4>
   <tcp><destination-port><operator>eq</operator><port>443</port></destination-port><source-port><lower-port>1024</lower-port><upper-port>65535</upper-port></source-port></tcp></matches>
   <actions><forwarding>acl:accept</forwarding></actions></ace>
  <ace><actions><logging>acl:log-syslog</logging><forwarding>acl:drop</forwarding></actions><name>r99</name><statistics><matched-packets>7</matched-packets></statistics></ace></aces>
  <type>acl:ipv4-acl-type</type><name>four</name></acl>
 <acl><name>six</name><type>ipv6-acl-type</type><aces>
  <ace><name>a</name><matches><icmp><type>128</type><code>0</code></icmp></matches><actions><forwarding>accept</forwarding></actions></ace>
  <ace><name>b</name><matches><ipv6><destination-ipv6-network>2001:db8::/64</destination-ipv6-network></ipv6><udp><source-port><operator>neq</operator><port>53</port></source-port></udp></matches><actions><forwarding>acl:accept</forwarding></actions></ace>
  <ace><name>c</name><matches><tcp><flags>ack rst</flags><destination-port><operator>lte</operator><port>9</port></destination-port><source-port><port>7</port></source-port></tcp></matches><actions><forwarding>acl:accept</forwarding></actions></ace></aces></acl>
 <acl><name>unused</name><type>acl:ipv4-acl-type</type></acl>
</acls></data></rpc-reply>`))
	if err != nil {
		t.Fatal(err)
	}
	four := []Entry{
		{Permit: true, Ethertype: IPv4, Proto: new(uint8(6)), Src: netip.MustParsePrefix("10.0.1.0/24"), Dst: netip.MustParsePrefix("10.0.2.0/24"),
			SrcPorts: []Ports{{1024, 65535}}, DstPorts: []Ports{{443, 443}}},
		{Ethertype: IPv4},
	}
	six := []Entry{
		{Permit: true, Ethertype: IPv6, Proto: new(uint8(58)), Type: new(uint8(128)), Code: new(uint8(0))},
		{Permit: true, Ethertype: IPv6, Proto: new(uint8(17)), Dst: netip.MustParsePrefix("2001:db8::/64"), SrcPorts: []Ports{{0, 52}, {54, 65535}}},
		{Permit: true, Ethertype: IPv6, Proto: new(uint8(6)), Flags: 0x14, SrcPorts: []Ports{{7, 7}}, DstPorts: []Ports{{0, 9}}},
	}
	want := ACLs{
		{Port: 2, Direction: In, Drop4: true, Drop6: true, Entries: append(four, six...)},
		{Port: 2, Direction: Out, Drop6: true, Entries: six},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if _, err := flows(got, 4); err != nil {
		t.Error(err)
	}
}

// A configuration without lists is one; what is none is an error.
func TestNoRFC8519(t *testing.T) {
	for _, empty := range []string{`<data/>`, `<config xmlns="x"><other xmlns="y"/></config>`, `<acls xmlns="` + aclSpace + `"/>`, `<rpc-reply message-id="1"><data/></rpc-reply>`} {
		if got, err := FromRFC8519([]byte(empty)); err != nil || len(got) > 0 {
			t.Errorf("%s: %v, %v", empty, got, err)
		}
	}
	for _, bad := range []string{"", " ", "<data>", `<acls/>`, `<rpc-reply><rpc-error/></rpc-reply>`, `<data/><data/>`, `<data></acls>`, `x`, `<!DOCTYPE a><data/>`,
		`<data>` + strings.Repeat(`<a>`, 200) + strings.Repeat(`</a>`, 200) + `</data>`} {
		if got, err := FromRFC8519([]byte(bad)); err == nil {
			t.Errorf("%.60s was read as %v", bad, got)
		}
	}
}

func TestUnknownToRFC8519(t *testing.T) {
	good := document("ipv4-acl-type", "<tcp/>")
	if _, err := FromRFC8519([]byte(good)); err != nil {
		t.Fatal(err)
	}
	swap := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the document", old)
		}
		return strings.Replace(good, old, with, 1)
	}
	acl := good[strings.Index(good, "<acl>") : strings.Index(good, "</acl>")+len("</acl>")]
	set := "<acl-set><name>L</name></acl-set>"
	face := good[strings.Index(good, "<interface>") : strings.Index(good, "</interface>")+len("</interface>")]
	for want, doc := range map[string]string{
		"of type \"a:eth-acl-type\"":  document("eth-acl-type", ""),
		"has no type":                 swap("<type>a:ipv4-acl-type</type>", ""),
		"two lists \"L\"":             swap(acl, acl+acl),
		"stands for nothing":          swap("a:ipv4-acl-type", "b:ipv4-acl-type"),
		"does not know":               swap("a:ipv4-acl-type", "ipv9-acl-type"),
		"two entries \"r\"":           swap("</ace>", "</ace>"+acl[strings.Index(acl, "<ace>"):strings.Index(acl, "</ace>")]+"</ace>"),
		"holds \"extra\"":             swap("<matches>", "<extra/><matches>"),
		"of namespace \"y\"":          swap("<matches>", `<x:matches xmlns:x="y"/><matches>`),
		"two of \"matches\"":          swap("<matches>", `<matches/><matches>`),
		"holds \"ingress-interface\"": swap("<tcp/>", "<tcp/><ingress-interface>swp1</ingress-interface>"),
		"has the attribute":           swap("<acl>", `<acl operation="replace">`),
		"has no actions":              swap("<actions><forwarding>a:accept</forwarding></actions>", ""),
		"whether to forward":          swap("<forwarding>a:accept</forwarding>", ""),
		"action \"a:reject\"":         swap("a:accept", "a:reject"),
		"has an empty name":           swap("<name>r</name>", "<name/>"),
		"has no name":                 swap("<name>r</name>", ""),
		"where a value belongs":       swap("<name>r</name>", "<name><x/></name>"),
		"text \"x\" where elements":   swap("<tcp/>", "<tcp>x</tcp>"),
		"text \"x\" between":          swap("<tcp/>", "x<tcp/>"),
		"no list \"M\"":               swap(set, "<acl-set><name>M</name></acl-set>"),
		"second one of its family":    swap(set, set+set),
		"swp1 is there twice":         swap(face, face+face),
		"no interface \"eth0\"":       swap("swp1", "eth0"),
		"no interface \"swp01\"":      swap("swp1", "swp01"),
		"no interface \"swp0\"":       swap("swp1", "swp0"),
		"no interface \"swp+1\"":      swap("swp1", "swp+1"),
		"two elements acls":           "<data>" + good + good + "</data>",
	} {
		if got, err := FromRFC8519([]byte(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", want, got, err)
		}
	}
}

func TestMatchesOfRFC8519(t *testing.T) {
	port := func(s string) string { return "<tcp><destination-port>" + s + "</destination-port></tcp>" }
	for want, matches := range map[string]string{
		"of ipv4 and cannot":         "<ipv6/>",
		"of ipv4":                    "<ipv4/><ipv6/>",
		"holds \"eth\"":              "<eth/>",
		"holds \"dscp\"":             "<ipv4><dscp>4</dscp></ipv4>",
		"holds \"flags\"":            "<ipv4><flags>more</flags></ipv4>",
		"holds \"offset\"":           "<ipv4><offset>100</offset></ipv4>",
		"two protocols":              "<tcp/><udp/>",
		"protocol 17 and \"tcp\"":    "<ipv4><protocol>17</protocol></ipv4><tcp/>",
		"no number of 8 bits":        "<ipv4><protocol>256</protocol></ipv4>",
		"no prefix of ipv4":          "<ipv4><source-ipv4-network>2001:db8::/32</source-ipv4-network></ipv4>",
		"no prefix":                  "<ipv4><source-ipv4-network>10.0.0.1</source-ipv4-network></ipv4>",
		"no number of 16 bits":       port("<port>65536</port>"),
		"or a port with an operator": port(""),
		"needs lower-port":           port("<lower-port>1</lower-port>"),
		"or a port":                  port("<lower-port>1</lower-port><upper-port>2</upper-port><port>3</port>"),
		"upper-port, or":             port("<lower-port>1</lower-port><upper-port>2</upper-port><operator>eq</operator>"),
		"down to 1":                  port("<lower-port>2</lower-port><upper-port>1</upper-port>"),
		"operator \"gt\"":            port("<operator>gt</operator><port>1</port>"),
		"no control bits":            "<tcp><flags>ack syn ns</flags></tcp>",
		"each named once":            "<tcp><flags>ack ack</flags></tcp>",
		"name none":                  "<tcp><flags/></tcp>",
		"holds \"window-size\"":      "<tcp><window-size>1</window-size></tcp>",
		"holds \"length\"":           "<udp><length>1</length></udp>",
		"needs a type":               "<icmp><code>1</code></icmp>",
		"holds \"rest-of-header\"":   "<icmp><rest-of-header>00</rest-of-header></icmp>",
	} {
		if got, err := FromRFC8519([]byte(document("ipv4-acl-type", matches))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", want, got, err)
		}
	}
}

// Whatever is read can be done, or is refused with a reason.
func FuzzFromRFC8519(f *testing.F) {
	for _, m := range []string{"", "<tcp/>", "<ipv4><protocol>1</protocol></ipv4><icmp><type>8</type></icmp>", "<udp><source-port><operator>gte</operator><port>0</port></source-port></udp>"} {
		f.Add([]byte(document("ipv4-acl-type", m)))
		f.Add([]byte(document("ipv6-acl-type", m)))
	}
	f.Add([]byte("<data/>"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		a, err := FromRFC8519(doc)
		if err != nil {
			return
		}
		first, err1 := flows(a, 4)
		again, err2 := FromRFC8519(doc)
		if err2 != nil || !reflect.DeepEqual(a, again) {
			t.Errorf("read twice, it differs: %v", err2)
		}
		if second, _ := flows(again, 4); err1 == nil && first != second {
			t.Error("the same lists give other flows")
		}
	})
}
