package decode

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// A tiny assembler for expressions that nft's language has no words for.

func attr(typ uint16, v []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(v)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func num(typ uint16, v uint32) []byte { return attr(typ, binary.BigEndian.AppendUint32(nil, v)) }

func data(typ uint16, v ...byte) []byte { return attr(typ, attr(unix.NFTA_DATA_VALUE, v)) }

func expr(name string, parts ...[]byte) ruleset.Expr {
	e := ruleset.Expr{Name: name}
	for _, p := range parts {
		e.Data = append(e.Data, p...)
	}
	return e
}

func verdictExpr(code int32, chain string) ruleset.Expr {
	v := num(unix.NFTA_VERDICT_CODE, uint32(code))
	if chain != "" {
		v = append(v, attr(unix.NFTA_VERDICT_CHAIN, append([]byte(chain), 0))...)
	}
	return expr("immediate", num(unix.NFTA_IMMEDIATE_DREG, 0), attr(unix.NFTA_IMMEDIATE_DATA, attr(unix.NFTA_DATA_VERDICT, v)))
}

func metaExpr(key, dreg uint32) ruleset.Expr {
	return expr("meta", num(unix.NFTA_META_DREG, dreg), num(unix.NFTA_META_KEY, key))
}

func payloadExpr(base, off, n, dreg uint32) ruleset.Expr {
	return expr("payload", num(unix.NFTA_PAYLOAD_DREG, dreg), num(unix.NFTA_PAYLOAD_BASE, base), num(unix.NFTA_PAYLOAD_OFFSET, off), num(unix.NFTA_PAYLOAD_LEN, n))
}

func cmpExpr(op, sreg uint32, v ...byte) ruleset.Expr {
	return expr("cmp", num(unix.NFTA_CMP_SREG, sreg), num(unix.NFTA_CMP_OP, op), data(unix.NFTA_CMP_DATA, v...))
}

func ctExpr(key, dreg uint32) ruleset.Expr {
	return expr("ct", num(unix.NFTA_CT_DREG, dreg), num(unix.NFTA_CT_KEY, key))
}

// forwardOnly is a table with one forward chain that drops what no rule accepts.
func forwardOnly(rules ...[]ruleset.Expr) *ruleset.Ruleset {
	c := ruleset.Chain{Name: "forward", Type: "filter", Hook: &ruleset.Hook{Num: unix.NF_INET_FORWARD}, Policy: codeDrop}
	for i, r := range rules {
		c.Rules = append(c.Rules, ruleset.Rule{Handle: uint64(i + 1), Exprs: r})
	}
	// A chain that is not hooked makes the kernel reassemble fragments.
	tracking := ruleset.Chain{Name: "tracking", Rules: []ruleset.Rule{{Exprs: []ruleset.Expr{ctExpr(unix.NFT_CT_STATE, 1)}}}}
	return &ruleset.Ruleset{Tables: []ruleset.Table{{Family: ruleset.FamilyInet, Name: "t", Chains: []ruleset.Chain{c, tracking}}}}
}

const (
	nh = unix.NFT_PAYLOAD_NETWORK_HEADER
	th = unix.NFT_PAYLOAD_TRANSPORT_HEADER
	eq = unix.NFT_CMP_EQ
)

func TestExpressions(t *testing.T) {
	accept := verdictExpr(codeAccept, "")
	tcp := packet.Services{{Lo: 6 << 16, Hi: 6<<16 | 0xffff}}
	for _, c := range []struct {
		name string
		rule []ruleset.Expr
		want packet.Services // from 10.0.0.1 to 10.0.0.2
		find string          // part of a finding, or none at all
	}{
		{"protocol", []ruleset.Expr{metaExpr(unix.NFT_META_L4PROTO, 1), cmpExpr(eq, 1, 6), accept}, tcp, ""},
		{"register 1 is the first four words", []ruleset.Expr{metaExpr(unix.NFT_META_L4PROTO, 1), cmpExpr(eq, 8, 6), accept}, tcp, ""},
		{"header protocol", []ruleset.Expr{metaExpr(unix.NFT_META_NFPROTO, 1), cmpExpr(eq, 1, 2), payloadExpr(nh, 9, 1, 8), cmpExpr(eq, 8, 6), accept}, tcp, ""},
		{"loads zero the rest of the word", []ruleset.Expr{metaExpr(unix.NFT_META_L4PROTO, 1), cmpExpr(eq, 1, 6, 0, 0, 0), accept}, tcp, ""},
		{"icmp type and code", []ruleset.Expr{metaExpr(unix.NFT_META_L4PROTO, 1), cmpExpr(eq, 1, 1), payloadExpr(th, 0, 2, 1), cmpExpr(eq, 1, 8, 0), accept},
			packet.Services{{Lo: 1<<16 | 0x800, Hi: 1<<16 | 0x800}}, ""},
		{"icmp code alone", []ruleset.Expr{metaExpr(unix.NFT_META_L4PROTO, 1), cmpExpr(eq, 1, 1), payloadExpr(th, 1, 1, 1), cmpExpr(unix.NFT_CMP_GT, 1, 3), payloadExpr(th, 0, 1, 1), cmpExpr(eq, 1, 3), accept},
			packet.Services{{Lo: 1<<16 | 0x304, Hi: 1<<16 | 0x3ff}}, ""},
		{"both ports at once", []ruleset.Expr{metaExpr(unix.NFT_META_L4PROTO, 1), cmpExpr(eq, 1, 6), payloadExpr(th, 2, 2, 1), cmpExpr(eq, 1, 0, 80), accept},
			packet.Services{{Lo: 6<<16 | 80, Hi: 6<<16 | 80}}, ""},
		{"both addresses at once", []ruleset.Expr{metaExpr(unix.NFT_META_NFPROTO, 1), cmpExpr(eq, 1, 2), payloadExpr(nh, 12, 8, 1), cmpExpr(eq, 1, 10, 0, 0, 1, 10, 0, 0, 2), accept}, packet.AllServices(), ""},
		{"leading bytes of an address", []ruleset.Expr{metaExpr(unix.NFT_META_NFPROTO, 1), cmpExpr(eq, 1, 2), payloadExpr(nh, 12, 2, 1), cmpExpr(eq, 1, 10, 0), accept}, packet.AllServices(), ""},
		{"a mask with a hole", []ruleset.Expr{payloadExpr(nh, 12, 4, 1), bitwiseExpr([]byte{0, 0, 0, 1}), cmpExpr(eq, 1, 0, 0, 0, 1), accept}, nil, "cannot be known"},
		{"port numbers in order", []ruleset.Expr{payloadExpr(th, 2, 2, 1), cmpExpr(unix.NFT_CMP_LT, 1, 0, 5), payloadExpr(th, 2, 2, 1), cmpExpr(unix.NFT_CMP_GTE, 1, 0, 4), accept},
			nil, "cannot be known"}, // of protocols without ports the bytes mean anything
		{"transport bytes of others", []ruleset.Expr{metaExpr(unix.NFT_META_L4PROTO, 1), cmpExpr(eq, 1, 47), payloadExpr(th, 0, 2, 1), cmpExpr(eq, 1, 0, 0), accept}, nil, "cannot be known"},
		{"never written register", []ruleset.Expr{cmpExpr(eq, 3, 0, 0, 0, 0), accept}, nil, "cannot be known"},
		{"mark that nobody set", []ruleset.Expr{metaExpr(unix.NFT_META_MARK, 1), cmpExpr(eq, 1, 0, 0, 0, 0), accept}, nil, "cannot be known"},
		{"loopback name", []ruleset.Expr{metaExpr(unix.NFT_META_IIFNAME, 1), cmpExpr(eq, 1, append([]byte("lo"), make([]byte, 14)...)...), accept}, packet.Services{}, ""},
		{"loopback index", []ruleset.Expr{metaExpr(unix.NFT_META_IIF, 1), cmpExpr(eq, 1, native(1)...), accept}, packet.Services{}, ""},
		{"other index", []ruleset.Expr{metaExpr(unix.NFT_META_IIF, 1), cmpExpr(eq, 1, native(7)...), accept}, nil, "cannot be known"},
		{"ct state", []ruleset.Expr{ctExpr(unix.NFT_CT_STATE, 1), cmpExpr(eq, 1, native(8)...), accept}, firstsOf(dom4).fresh, ""},
		{"ct direction stops without an entry", []ruleset.Expr{ctExpr(unix.NFT_CT_DIRECTION, 1), cmpExpr(eq, 1, 0), accept}, firstsOf(dom4).fresh, ""},
		{"unknown expression", []ruleset.Expr{expr("teleport"), accept}, nil, "teleport"},
		{"unknown expression behind a condition", []ruleset.Expr{metaExpr(unix.NFT_META_NFPROTO, 1), cmpExpr(eq, 1, 99), expr("teleport"), accept}, packet.Services{}, ""},
		{"queue", []ruleset.Expr{metaExpr(unix.NFT_META_L4PROTO, 1), cmpExpr(eq, 1, 6), expr("queue")}, nil, "queue"},
		{"queue verdict", []ruleset.Expr{verdictExpr(3, "")}, nil, "verdict 3"},
		{"drop with an error number", []ruleset.Expr{verdictExpr(0x10000, "")}, packet.Services{}, ""},
		{"jump to nowhere", []ruleset.Expr{verdictExpr(codeJump, "nowhere")}, nil, "no chain nowhere"},
		{"jump to itself", []ruleset.Expr{verdictExpr(codeJump, "forward")}, nil, "leads back"},
		{"continue", []ruleset.Expr{verdictExpr(codeContinue, ""), accept}, packet.AllServices(), ""},
		{"break", []ruleset.Expr{verdictExpr(codeBreak, ""), accept}, packet.Services{}, ""},
		{"flow offload", []ruleset.Expr{expr("flow_offload")}, nil, "flow_offload"},
		{"missing set", []ruleset.Expr{metaExpr(unix.NFT_META_L4PROTO, 1), expr("lookup", attr(unix.NFTA_LOOKUP_SET, []byte("s\x00")), num(unix.NFTA_LOOKUP_SREG, 1)), accept}, nil, "no such set"},
		{"garbage", []ruleset.Expr{{Name: "cmp", Data: []byte{9, 0, 1, 0, 1}}, accept}, nil, "malformed"},
		{"protocol by or", []ruleset.Expr{metaExpr(unix.NFT_META_L4PROTO, 1), boolExpr(bitwiseOr, 1), cmpExpr(eq, 1, 7), accept}, protoServices(6, 7), ""},
		{"known word shifted", []ruleset.Expr{immExpr(1, native(3)...), shiftExpr(4), cmpExpr(eq, 1, native(48)...), accept}, packet.AllServices(), ""},
		{"port in host order", []ruleset.Expr{metaExpr(unix.NFT_META_L4PROTO, 1), cmpExpr(eq, 1, 17), payloadExpr(th, 2, 2, 1), orderExpr(2, 2), cmpExpr(eq, 1, 53, 0), accept},
			packet.Services{{Lo: 17<<16 | 53, Hi: 17<<16 | 53}}, ""},
		{"byteorder below its unit", []ruleset.Expr{metaExpr(unix.NFT_META_L4PROTO, 1), orderExpr(1, 2), cmpExpr(eq, 1, 6), accept}, tcp, ""},
		{"range", []ruleset.Expr{metaExpr(unix.NFT_META_L4PROTO, 1), cmpExpr(eq, 1, 6), payloadExpr(th, 2, 2, 1), expr("range", num(unix.NFTA_RANGE_SREG, 1), num(unix.NFTA_RANGE_OP, 0), data(unix.NFTA_RANGE_FROM_DATA, 0, 20), data(unix.NFTA_RANGE_TO_DATA, 0, 30)), accept},
			packet.Services{{Lo: 6<<16 | 20, Hi: 6<<16 | 30}}, ""},
	} {
		d := Decode(forwardOnly(c.rule), testOptions())
		got := strings.Join(problems(d), "\n")
		if c.find == "" && got != "" || !strings.Contains(got, c.find) {
			t.Errorf("%s: findings %q, want %q", c.name, got, c.find)
		}
		if c.want != nil {
			if p := permits(t, relation(t, d, "forward", driver.TrackNew, "", 1000, false), "10.0.0.1", "10.0.0.2"); !p.Equal(c.want) {
				t.Errorf("%s: permits %v, want %v", c.name, p, c.want)
			}
		}
	}
}

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func immExpr(dreg uint32, v ...byte) ruleset.Expr {
	return expr("immediate", num(unix.NFTA_IMMEDIATE_DREG, dreg), data(unix.NFTA_IMMEDIATE_DATA, v...))
}

func bitwiseExpr(mask []byte) ruleset.Expr {
	return expr("bitwise", num(unix.NFTA_BITWISE_SREG, 1), num(unix.NFTA_BITWISE_DREG, 1), num(unix.NFTA_BITWISE_LEN, uint32(len(mask))),
		data(unix.NFTA_BITWISE_MASK, mask...), data(unix.NFTA_BITWISE_XOR, make([]byte, len(mask))...))
}

func boolExpr(op uint32, v ...byte) ruleset.Expr {
	return expr("bitwise", num(unix.NFTA_BITWISE_SREG, 1), num(unix.NFTA_BITWISE_DREG, 1), num(unix.NFTA_BITWISE_LEN, uint32(len(v))),
		num(attrBitwiseOp, op), data(attrBitwiseData, v...))
}

func shiftExpr(by uint32) ruleset.Expr {
	return expr("bitwise", num(unix.NFTA_BITWISE_SREG, 1), num(unix.NFTA_BITWISE_DREG, 1), num(unix.NFTA_BITWISE_LEN, 4),
		num(attrBitwiseOp, bitwiseLshift), data(attrBitwiseData, native(by)...))
}

func orderExpr(n, size uint32) ruleset.Expr {
	return expr("byteorder", num(unix.NFTA_BYTEORDER_SREG, 1), num(unix.NFTA_BYTEORDER_DREG, 1), num(unix.NFTA_BYTEORDER_OP, 0),
		num(unix.NFTA_BYTEORDER_LEN, n), num(unix.NFTA_BYTEORDER_SIZE, size))
}

// TestEnds checks the ends of tables: none, dormant, no hooks.
func TestEnds(t *testing.T) {
	if d := Decode(&ruleset.Ruleset{}, testOptions()); len(problems(d)) != 1 || len(d.Relations) != 0 {
		t.Errorf("no table: %v", d)
	}
	rs := forwardOnly()
	rs.Tables[0].Flags = unix.NFT_TABLE_F_DORMANT
	if d := Decode(rs, testOptions()); len(problems(d)) != 1 || len(d.Relations) != 0 {
		t.Errorf("dormant: %v", d)
	}
	rs = forwardOnly()
	rs.Tables[0].Chains[0].Hook = nil
	if d := Decode(rs, testOptions()); len(d.Relations) != 0 {
		t.Errorf("no hooks: %v", d.Relations)
	}
}

// TestDeterministic decodes twice and expects the same.
func TestDeterministic(t *testing.T) {
	l := newLoader(t)
	rs := l.load(correctLayout().text())
	rs.Tables[0].Chains[0].Rules = append(rs.Tables[0].Chains[0].Rules, ruleset.Rule{Exprs: []ruleset.Expr{expr("teleport")}})
	a, b := Analyze(rs, testOptions()), Analyze(rs, testOptions())
	if fmt.Sprint(a.Decoded.Findings, a.Marks) != fmt.Sprint(b.Decoded.Findings, b.Marks) || fingerprint(t, a.Decoded) != fingerprint(t, b.Decoded) {
		t.Error("two decodings of one ruleset differ")
	}
}

// TestMarks tells the marks that pass and that are given.
func TestMarks(t *testing.T) {
	l := newLoader(t)
	got := Analyze(l.load(smallLayout().text()), testOptions())
	want := "[42000001 42000002 42000003 42000004]"
	if g := fmt.Sprintf("%x", got.Marks.Accepting); g != want {
		t.Errorf("accepting %s, want %s", g, want)
	}
	if g := fmt.Sprintf("%x", got.Marks.Assignable); g != want {
		t.Errorf("assignable %s, want %s", g, want)
	}
}

// TestSize decodes 300 by 300 classes with 50 services each.
func TestSize(t *testing.T) {
	l := newLoader(t)
	rs := l.load(bigLayout(300, 400, 50).text())
	start := time.Now()
	res := Analyze(rs, testOptions())
	wantClean(t, res.Decoded)
	t.Logf("%d relations, %d classes: %s", len(res.Decoded.Relations), len(res.Decoded.Relations[0].Src), time.Since(start))
	r := res.Decoded.Relations[0]
	for _, c := range []struct {
		src, dst string
		port     uint16
		want     bool
	}{{"10.0.0.0", "10.0.0.0", 1000, true}, {"10.0.0.0", "10.0.0.0", 1001, false}, {"10.0.0.0", "10.0.0.1", 1003, true}, {"11.0.0.0", "10.0.0.1", 1003, false}} {
		if got := permits(t, r, c.src, c.dst).Contains(packet.Point(6, c.port)); got != c.want {
			t.Errorf("%v: %v", c, got)
		}
	}
}

// TestLargeSet decodes a map of many addresses and few classes.
func TestLargeSet(t *testing.T) {
	rs := newLoader(t).load(smallLayout().text())
	host := rs.Tables[0].Set("host4")
	class := []uint32{0x11, 0x12, 0x14}
	for i := range 100_000 {
		host.Elements = append(host.Elements, ruleset.Element{
			Key: binary.BigEndian.AppendUint32(nil, 0xc0000000+uint32(i*3)), Data: native(class[i%3])})
	}
	start := time.Now()
	d := Decode(rs, testOptions())
	wantClean(t, d)
	t.Logf("%d classes: %s", len(d.Relations[0].Src), time.Since(start))
	if n := len(d.Relations[0].Src); n > 10 {
		t.Errorf("%d classes", n)
	}
	if p := permits(t, d.Relations[0], "192.0.0.0", "192.0.0.3"); !p.Contains(6<<16 | 443) {
		t.Errorf("permits %v", p)
	}
}

// FuzzExpr feeds the parser and the executor with anything.
func FuzzExpr(f *testing.F) {
	for _, e := range []ruleset.Expr{
		metaExpr(3, 1), payloadExpr(nh, 12, 8, 1), cmpExpr(eq, 1, 1, 2, 3, 4), verdictExpr(codeGoto, "forward"), ctExpr(3, 8), bitwiseExpr([]byte{1, 2, 3, 4}),
		shiftExpr(3), orderExpr(4, 4), boolExpr(bitwiseAnd, 3), expr("range"), expr("fib", num(1, 1)), expr("objref"), expr("dynset", num(3, 1)),
		expr("lookup", attr(1, []byte("s\x00")), num(2, 1)), expr("exthdr", num(1, 1)), expr("limit"),
	} {
		f.Add(e.Name, e.Data, []byte{2, 1, 4, 9, 10, 0, 0, 1})
	}
	f.Fuzz(func(t *testing.T, name string, raw []byte, elem []byte) {
		rules := []ruleset.Expr{payloadExpr(nh, 12, 4, 1), metaExpr(unix.NFT_META_L4PROTO, 9), {Name: name, Data: raw}, cmpExpr(eq, 1, 1), verdictExpr(codeAccept, "")}
		rs := forwardOnly(rules, rules[2:])
		s := ruleset.Set{Name: "s", Flags: ruleset.SetInterval, KeyLen: 4, DataLen: 4}
		if len(elem) >= 8 {
			s.Flags = uint32(elem[0])
			s.KeyLen = uint32(elem[1])
			for at := 2; at+6 <= len(elem); at += 6 {
				s.Elements = append(s.Elements, ruleset.Element{Key: elem[at : at+4], Flags: uint32(elem[at+4]), Data: elem[at+4 : at+6]})
			}
		}
		rs.Tables[0].Sets = []ruleset.Set{s}
		for _, o := range []ruleset.Expr{{Name: name, Data: raw}} {
			p := parseExpr(o)
			_ = disasm(&p)
		}
		d := Decode(rs, testOptions())
		for _, r := range d.Relations {
			for i := range r.Src {
				for j := range r.Dst {
					r.Permit(i, j)
				}
			}
			r.Why(r.Src[0].First(), r.Dst[0].First(), 6<<16)
		}
	})
}
