package dialect_test

import (
	"fmt"
	"strings"
	"testing"

	"bulkhead/drivers/netconf/dialect"
	"bulkhead/pkg/driver/portacl"
)

// pieces are a configuration of each model with a list "l" of one entry that is understood,
// bound to port "p", into which a test puts something more.
var pieces = map[string]string{
	"ietf": `<acls xmlns="urn:ietf:params:xml:ns:yang:ietf-access-control-list"><acl><name>l</name><type>ipv4-acl-type</type>%LIST<aces>` +
		`<ace><name>10</name>%ENTRY<matches><ipv4>%IP<protocol>6</protocol></ipv4><tcp>%L4</tcp></matches><actions><forwarding>accept</forwarding>%ACTION</actions></ace></aces></acl>` +
		`<attachment-points><interface><interface-id>p</interface-id>%PORT<ingress><acl-sets><acl-set><name>l</name></acl-set></acl-sets></ingress></interface></attachment-points></acls>`,
	"openconfig": `<acl xmlns="http://openconfig.net/yang/acl">%TOP<acl-sets><acl-set><name>l</name><type>ACL_IPV4</type><config><type>ACL_IPV4</type><name>l</name></config>%LIST<acl-entries>` +
		`<acl-entry><sequence-id>10</sequence-id><config><sequence-id>10</sequence-id></config>%ENTRY<ipv4><config>%IP<protocol>6</protocol></config></ipv4><transport><config>%L4</config></transport>` +
		`<actions><config><forwarding-action>ACCEPT</forwarding-action>%ACTION</config></actions></acl-entry></acl-entries></acl-set></acl-sets>` +
		`<interfaces><interface><id>p</id><config><id>p</id></config><interface-ref><config><interface>p</interface>%REF</config></interface-ref>%PORT<ingress-acl-sets>%SETS` +
		`<ingress-acl-set><set-name>l</set-name><type>ACL_IPV4</type><config><set-name>l</set-name><type>ACL_IPV4</type></config></ingress-acl-set></ingress-acl-sets></interface></interfaces></acl>`,
	"junos": `<configuration xmlns="http://yang.juniper.net/junos-qfx/conf/root"><firewall xmlns="http://yang.juniper.net/junos-qfx/conf/firewall"%FIREWALL><family><ethernet-switching><filter%FILTER><name>l</name>%LIST` +
		`<term%TERM><name>10</name>%ENTRY<from><ether-type>ipv4</ether-type>%IP<ip-protocol>tcp</ip-protocol>%L4</from><then><accept/>%ACTION</then></term>%MORE` +
		`<term><name>bh-end-ipv4</name><from><ether-type>ipv4</ether-type></from><then><discard/></then></term><term><name>bh-end-ipv6</name><from><ether-type>ipv6</ether-type></from><then><discard/></then></term>` +
		`<term><name>bh-end-other</name><then><accept/>%END</then></term></filter></ethernet-switching></family></firewall>` +
		`<interfaces xmlns="http://yang.juniper.net/junos-qfx/conf/interfaces"><interface><name>p</name><unit%UNIT><name>0</name><family><ethernet-switching><interface-mode>trunk</interface-mode><filter><input>l</input>%PORT</filter></ethernet-switching></family></unit></interface>%RANGE</interfaces>%GROUP</configuration>`,
}

// fill puts something at one place of a configuration.
func fill(model, place, what string) []byte {
	text := pieces[model]
	for _, p := range []string{"TOP", "LIST", "ENTRY", "IP", "L4", "ACTION", "REF", "PORT", "SETS", "FIREWALL", "FILTER", "TERM", "MORE", "END", "UNIT", "RANGE", "GROUP"} {
		with := ""
		if p == place {
			with = what
		}
		text = strings.ReplaceAll(text, "%"+p, with)
	}
	return []byte(text)
}

func unknown(c *portacl.Config) (n int) {
	for _, l := range c.Lists {
		n += len(l.Unknown)
	}
	for _, p := range c.Ports {
		n += len(p.Unknown)
	}
	return n
}

func TestUnknown(t *testing.T) {
	for _, c := range []struct{ model, place, what string }{
		{"ietf", "LIST", `<other/>`},
		{"ietf", "ENTRY", `<other/>`},
		{"ietf", "IP", `<dscp>3</dscp>`},
		{"ietf", "IP", `<source-ipv4-network>10.0.0.0</source-ipv4-network>`},
		{"ietf", "L4", `<flags>syn</flags>`},
		{"ietf", "L4", `<source-port><operator>neq</operator><port>1</port></source-port>`},
		{"ietf", "ACTION", `<redirect/>`},
		{"ietf", "PORT", `<other/>`},

		{"openconfig", "TOP", `<other/>`},
		{"openconfig", "LIST", `<other/>`},
		{"openconfig", "LIST", `<other xmlns="urn:vendor"/>`},
		{"openconfig", "LIST", `<config><name>m</name></config>`},
		{"openconfig", "ENTRY", `<l2><config><ethertype>2048</ethertype></config></l2>`},
		{"openconfig", "ENTRY", `<ipv6><config><protocol>6</protocol></config></ipv6>`},
		{"openconfig", "ENTRY", `<input-interface><config/></input-interface>`},
		{"openconfig", "IP", `<dscp>3</dscp>`},
		{"openconfig", "IP", `<source-address-prefix-set>x</source-address-prefix-set>`},
		{"openconfig", "IP", `<fragment-offsets>1..2</fragment-offsets>`},
		{"openconfig", "IP", `<source-address>10.0.0.0</source-address>`},
		{"openconfig", "IP", `<source-address>2001:db8::/32</source-address>`},
		{"openconfig", "IP", `<source-address>10.0.0.0/8</source-address><source-address>10.0.0.0/8</source-address>`},
		{"openconfig", "IP", `<source-address x="y">10.0.0.0/8</source-address>`},
		{"openconfig", "L4", `<source-port>2..1</source-port>`},
		{"openconfig", "L4", `<source-port>+1</source-port>`},
		{"openconfig", "L4", `<source-port>70000</source-port>`},
		{"openconfig", "L4", `<source-port-set>x</source-port-set>`},
		{"openconfig", "L4", `<detail-mode>EXPLICIT</detail-mode><explicit-tcp-flags>TCP_ACK</explicit-tcp-flags>`},
		{"openconfig", "L4", `<detail-mode>BUILTIN</detail-mode><builtin-detail>TCP_INITIAL</builtin-detail>`},
		{"openconfig", "L4", `<builtin-detail>TCP_ESTABLISHED</builtin-detail>`},
		{"openconfig", "L4", `<detail-mode>BUILTIN</detail-mode><builtin-detail>FRAGMENT</builtin-detail><source-port>1</source-port>`},
		{"openconfig", "ACTION", `<other/>`},
		{"openconfig", "ACTION", `<set-vrf xmlns="urn:vendor"/>`},
		{"openconfig", "REF", `<subinterface>1</subinterface>`},
		{"openconfig", "PORT", `<other/>`},
		{"openconfig", "SETS", `<ingress-acl-set><set-name>m</set-name><type>ACL_IPV4</type><config><set-name>m</set-name><type>ACL_IPV4</type></config></ingress-acl-set>`},
		{"openconfig", "SETS", `<ingress-acl-set><set-name>m</set-name><type>ACL_L2</type><config><set-name>m</set-name><type>ACL_L2</type></config></ingress-acl-set>`},

		{"junos", "FIREWALL", ` inactive="inactive"`},
		{"junos", "FILTER", ` inactive="inactive"`},
		{"junos", "TERM", ` inactive="inactive"`},
		{"junos", "UNIT", ` inactive="inactive"`},
		{"junos", "LIST", `<apply-groups>g</apply-groups>`},
		{"junos", "LIST", `<interface-specific/>`},
		{"junos", "ENTRY", `<apply-groups>g</apply-groups>`},
		{"junos", "ENTRY", `<other xmlns="urn:vendor"/>`},
		{"junos", "IP", `<is-fragment/>`},
		{"junos", "IP", `<fragment-flags>1</fragment-flags>`},
		{"junos", "IP", `<ether-type>arp</ether-type>`},
		{"junos", "IP", `<vlan>10</vlan>`},
		{"junos", "IP", `<interface><name>xe-0/0/2</name></interface>`},
		{"junos", "IP", `<protocol>udp</protocol>`},
		{"junos", "IP", `<ip-version><ipv6><tcp-established/></ipv6></ip-version>`},
		{"junos", "IP", `<ip-version><ipv4><tcp-established/></ipv4></ip-version>`},
		{"junos", "IP", `<ip-source-address><name>10.0.0.0/8</name><except/></ip-source-address>`},
		{"junos", "IP", `<ip-source-address><name>10.0.0.0/8</name></ip-source-address><ip-source-address><name>10.0.0.0/9</name></ip-source-address>`},
		{"junos", "IP", `<ip-source-address><name>2001:db8::/32</name></ip-source-address>`},
		{"junos", "IP", `<ip-source-address/>`},
		{"junos", "IP", `<ip-protocol>udp</ip-protocol>`},
		{"junos", "L4", `<destination-port>http</destination-port>`},
		{"junos", "L4", `<destination-port>80</destination-port><destination-port>81</destination-port>`},
		{"junos", "L4", `<destination-port-except>80</destination-port-except>`},
		{"junos", "L4", `<tcp-initial/>`},
		{"junos", "L4", `<tcp-flags>syn</tcp-flags>`},
		{"junos", "L4", `<icmp-type>8</icmp-type>`},
		{"junos", "ACTION", `<discard/>`},
		{"junos", "ACTION", `<next>term</next>`},
		{"junos", "ACTION", `<policer>p</policer>`},
		{"junos", "MORE", `<term><name>20</name><then><accept/></then></term>`},
		{"junos", "MORE", `<term><name>20</name><from><ip-protocol>tcp</ip-protocol></from><then><accept/></then></term>`},
		{"junos", "MORE", `<term><name>20</name><from><ether-type>ipv4</ether-type></from><then><count>c</count></then></term>`},
		{"junos", "MORE", `<term><name>10</name><from><ether-type>ipv4</ether-type></from><then><accept/></then></term>`},
		{"junos", "MORE", `<term><name>bh-end-other</name><from><ether-type>ipv4</ether-type></from><then><accept/></then></term>`},
		{"junos", "END", `<policer>p</policer>`},
		{"junos", "PORT", `<input-list>l</input-list>`},
		{"junos", "PORT", `<output/>`},
		{"junos", "PORT", `<input>m</input>`},
		{"junos", "RANGE", `<interface-range><name>r</name><unit><name>0</name><family><ethernet-switching><filter><input>l</input></filter></ethernet-switching></family></unit></interface-range>`},
		{"junos", "GROUP", `<groups><name>g</name><firewall xmlns="http://yang.juniper.net/junos-qfx/conf/firewall"/></groups>`},
		{"junos", "GROUP", `<groups><name>g</name><interfaces xmlns="http://yang.juniper.net/junos-qfx/conf/interfaces"><interface><name>x</name><unit><name>0</name><family><ethernet-switching><filter/></ethernet-switching></family></unit></interface></interfaces></groups>`},
	} {
		d := dialect.Named(c.model)
		plain, err := d.Read(fill(c.model, "", ""))
		if err != nil || unknown(plain) > 0 || len(plain.Lists) != 1 || len(plain.Lists[0].Entries) != 1 || len(plain.Ports) != 1 {
			t.Fatalf("%s: %v\n%s", c.model, err, text(plain))
		}
		got, err := d.Read(fill(c.model, c.place, c.what))
		if err != nil {
			t.Errorf("%s: %s: %v", c.model, c.what, err)
		} else if unknown(got) == 0 {
			t.Errorf("%s: %s at %s is taken to be understood:\n%s", c.model, c.what, c.place, text(got))
		}
	}
}

// A trunk's mode, what counts and logs, and models beside ours say nothing of lists.
func TestReadLeavesOthersAlone(t *testing.T) {
	for _, c := range []struct{ model, place, what string }{
		{"openconfig", "TOP", `<state/><config/>`},
		{"openconfig", "ENTRY", `<state><matched-packets>4</matched-packets></state>`},
		{"openconfig", "ACTION", `<log-action>LOG_SYSLOG</log-action>`},
		{"junos", "ACTION", `<count>c</count><syslog/>`},
		{"junos", "RANGE", `<interface><name>xe-0/0/9</name><unit><name>0</name><family><inet><filter><input><filter-name>f</filter-name></input></filter></inet></family></unit></interface>`},
		{"junos", "GROUP", `<system xmlns="urn:other"/><groups><name>g</name></groups>`},
	} {
		d := dialect.Named(c.model)
		plain, err := d.Read(fill(c.model, "", ""))
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Read([]byte(fmt.Sprintf(`<data>%s<interfaces xmlns="urn:other"/></data>`, fill(c.model, c.place, c.what))))
		if err != nil || text(got) != text(plain) {
			t.Errorf("%s: %s: %v\n%s", c.model, c.what, err, text(got))
		}
	}
}

// What is no configuration of the model is an error, and not an empty one; a switch without
// lists has none.
func TestReadRefuses(t *testing.T) {
	each(t, func(t *testing.T, d dialect.Dialect) {
		root := map[string]string{"ietf": "acls", "openconfig": "acl", "junos": "configuration"}[d.Name()]
		for _, bad := range []string{"", "text", "<data>", "<" + root + `/>`, `<data><` + root + ` xmlns="urn:other"/></data>`} {
			if c, err := d.Read([]byte(bad)); err == nil {
				t.Errorf("%q is read as %s", bad, text(c))
			}
		}
		if c, err := d.Read([]byte(`<data/>`)); err != nil || len(c.Lists)+len(c.Ports) > 0 {
			t.Errorf("%v %v", c, err)
		}
	})
}
