package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// FuzzParseAttrs holds the walk to its bounds, at every depth.
func FuzzParseAttrs(f *testing.F) {
	b, at := openNest(nil, 3)
	b = appendString(b, 1, "name")
	b = appendU64(b, 2, 7)
	closeNest(b, at)
	f.Add(appendAttr(b, 9, []byte{1, 2, 3}))
	f.Add([]byte{4, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var total int
		var deep func(in *attrs, depth int)
		deep = func(in *attrs, depth int) {
			total += len(in.val)
			_, _, _, _, _ = in.str(), in.u8(), in.u16(), in.u32(), in.u64()
			in.err = nil
			if depth < 8 {
				in.sub(func(a *attrs) { deep(a, depth+1) })
			}
			in.err = nil
		}
		for in := walk(data); in.next(); {
			deep(&in, 0)
		}
		if total > 9*len(data) {
			t.Fatalf("%d bytes of values in %d", total, len(data))
		}
	})
}

// messages gives one real message of each kind, as the kernel sends it.
func messages(f *testing.F) {
	freshNS(f)
	run(f, "", "ip", "link", "set", "lo", "up")
	nft(f, everything)
	nft(f, "add set inet t many { type ipv4_addr; timeout 1h; }; add element inet t many { 1.2.3.4 timeout 5m }")
	nft(f, tracking)
	udpFlows(f, 5001)
	s, err := openSocket()
	if err != nil {
		f.Fatal(err)
	}
	defer s.close()
	el := appendString(appendString(nil, unix.NFTA_SET_ELEM_LIST_TABLE, "t"), unix.NFTA_SET_ELEM_LIST_SET, "hosts")
	for _, r := range []struct {
		typ, flags uint16
		family     uint8
		req        []byte
	}{
		{nftType | unix.NFT_MSG_GETGEN, 0, 0, nil}, {nftType | unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP, 0, nil},
		{nftType | unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, 0, nil}, {nftType | unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, 0, nil},
		{nftType | unix.NFT_MSG_GETSET, unix.NLM_F_DUMP, 0, nil}, {nftType | unix.NFT_MSG_GETOBJ, unix.NLM_F_DUMP, 0, nil},
		{nftType | unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, uint8(inet), el}, {ctType | ctMsgGet, unix.NLM_F_DUMP, 0, nil},
	} {
		n := 0
		err := s.request(context.Background(), r.typ, r.flags, r.family, 0, r.req, func(m message) error {
			n++
			f.Add(m.payload)
			return nil
		})
		if err != nil || n == 0 {
			f.Fatalf("type %#x: %d messages, %v", r.typ, n, err)
		}
	}
}

// FuzzDecoders holds every decoder against arbitrary messages: no panic, no
// value outside the message.
func FuzzDecoders(f *testing.F) {
	messages(f)
	packet := appendAttr(append(make([]byte, 4), appendString(nil, logPrefix, "drop")...), logPayload, make([]byte, 40))
	f.Add(packet)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = decodeGen(data)
		_, _ = decodeTable(data)
		_, _, _ = decodeChain(data)
		if _, r, err := decodeRule(data); err == nil {
			n := 0
			for _, x := range r.Exprs {
				n += len(x.Name) + len(x.Data)
			}
			if n > len(data) {
				t.Fatalf("%d bytes of expressions in %d", n, len(data))
			}
		}
		_, _, _ = decodeSet(data)
		_, _ = decodeElements(data, nil)
		_, _, _ = decodeObject(data)
		_, _, _ = decodeFlowtable(data)
		_, _ = decodeFlow(data)
		_, _ = decodePacket(data)
		_, _ = parseError(message{flags: flagAckTLVs, payload: data})
		_, _ = parseError(message{flags: flagAckTLVs | flagCapped, payload: data})
		_ = split(data, func(m message) error { return nil })
		_ = elementKeyAt(data, 4)
	})
}

// FuzzElementRoundTrip encodes elements and decodes them again.
func FuzzElementRoundTrip(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4}, []byte(nil), []byte{5}, uint64(3), uint64(9), uint32(0), "chain", int64(5e9))
	f.Fuzz(func(t *testing.T, key, end, data []byte, packets, octets uint64, flags uint32, chain string, timeout int64) {
		e := ruleset.Element{Key: key, KeyEnd: end, Data: data, Packets: packets, Bytes: octets, Flags: flags,
			HasCounter: packets|octets != 0}
		if len(chain) > 0 && bytes.IndexByte([]byte(chain), 0) < 0 {
			e.Verdict, e.Data = &ruleset.Verdict{Code: -3, Chain: chain}, nil
		}
		if timeout > 0 {
			e.Timeout = time.Duration(timeout).Truncate(time.Millisecond)
		}
		var b Batch
		b.AddElements(inet, "t", "x", []ruleset.Element{e})
		if b.err != nil {
			return
		}
		got, err := decodeElements(b.buf[nlmsgHdrLen:], nil)
		if err != nil || len(got) != 1 {
			t.Fatalf("%d elements: %v", len(got), err)
		}
		if !sameElement(&got[0], &e) {
			t.Fatalf("%+v, want %+v", got[0], e)
		}
	})
}

// FuzzParsePacket cuts and corrupts packets.
func FuzzParsePacket(f *testing.F) {
	v6 := make([]byte, 40, 80)
	v6[0] = 0x60
	for _, next := range []byte{0, 43, 44, 51, 60, 58, 6, 135} {
		p := append(bytes.Clone(v6), 17, 0, 0, 0, 0, 0, 0, 0, 0, 53, 0, 53, 0, 8, 0, 0)
		p[6] = next
		f.Add(p)
	}
	v4 := make([]byte, 28)
	v4[0], v4[9] = 0x45, 6
	f.Add(v4)
	f.Add([]byte{0x4f})
	f.Fuzz(func(t *testing.T, p []byte) {
		h, err := ParsePacket(p)
		if err != nil {
			if h != (Header{}) {
				t.Fatalf("%+v with an error", h)
			}
			return
		}
		if !h.Src.IsValid() || !h.Dst.IsValid() || h.Fragment && h.HasService || h.Src.Is4() != (p[0]>>4 == 4) {
			t.Fatalf("%+v", h)
		}
		// What a longer capture shows, a shorter one either shows too or does not know.
		if s, err := ParsePacket(p[:len(p)-1]); err == nil && s.HasService && s != h {
			t.Fatalf("cut: %+v, whole: %+v", s, h)
		}
	})
}

func TestParsePacket(t *testing.T) {
	v4 := func(proto byte, frag uint16, payload ...byte) []byte {
		p := make([]byte, 24, 64) // with one option
		p[0], p[9], p[15], p[19] = 0x46, proto, 1, 2
		binary.BigEndian.PutUint16(p[6:], frag)
		return append(p, payload...)
	}
	v6 := func(next byte, payload ...byte) []byte {
		p := make([]byte, 40, 128)
		p[0], p[6], p[23], p[39] = 0x60, next, 1, 2
		return append(p, payload...)
	}
	hop := func(next byte) []byte { return []byte{next, 0, 0, 0, 0, 0, 0, 0} }
	udp := []byte{0x12, 0x34, 0, 53, 0, 8, 0, 0}
	for name, c := range map[string]struct {
		p    []byte
		want Header
		err  bool
	}{
		"tcp":              {p: v4(6, 0, 0x12, 0x34, 1, 0xbb), want: Header{Proto: 6, SrcPort: 0x1234, Service: 443, HasService: true}},
		"icmp":             {p: v4(1, 0, 3, 4), want: Header{Proto: 1, Service: 0x304, HasService: true}},
		"gre":              {p: v4(47, 0, 1, 2, 3, 4), want: Header{Proto: 47}},
		"later fragment":   {p: v4(6, 5, 0x12, 0x34, 1, 0xbb), want: Header{Proto: 6, Fragment: true}},
		"first fragment":   {p: v4(17, 0x2000, udp...), want: Header{Proto: 17, SrcPort: 0x1234, Service: 53, HasService: true}},
		"cut ports":        {p: v4(6, 0, 0x12), want: Header{Proto: 6}},
		"cut options":      {p: v4(6, 0)[:20], want: Header{Proto: 6}},
		"udp6":             {p: v6(17, udp...), want: Header{Proto: 17, SrcPort: 0x1234, Service: 53, HasService: true}},
		"hop by hop":       {p: v6(0, append(hop(17), udp...)...), want: Header{Proto: 17, SrcPort: 0x1234, Service: 53, HasService: true}},
		"two headers":      {p: v6(0, append(append(hop(60), hop(58)...), 135, 0)...), want: Header{Proto: 58, Service: 135 << 8, HasService: true}},
		"auth":             {p: v6(51, append([]byte{17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, udp...)...), want: Header{Proto: 17, SrcPort: 0x1234, Service: 53, HasService: true}},
		"fragment 6":       {p: v6(44, append([]byte{17, 0, 0, 8, 0, 0, 0, 1}, udp...)...), want: Header{Proto: 17, Fragment: true}},
		"first fragment 6": {p: v6(44, append([]byte{17, 0, 0, 1, 0, 0, 0, 1}, udp...)...), want: Header{Proto: 17, SrcPort: 0x1234, Service: 53, HasService: true}},
		"icmp in 6":        {p: v6(1, 8, 0), want: Header{Proto: 1}},
		"no next header":   {p: v6(59), want: Header{Proto: 59}},
		"cut extension":    {p: v6(0, 17, 3, 0, 0, 0, 0, 0, 0), err: true},
		"endless":          {p: v6(0, bytes.Repeat(hop(0), 40)...), err: true},
		"empty":            {err: true},
		"short 4":          {p: v4(6, 0)[:19], err: true},
		"short 6":          {p: v6(6)[:39], err: true},
		"version 5":        {p: []byte{0x50, 1, 2}, err: true},
	} {
		got, err := ParsePacket(c.p)
		if (err != nil) != c.err {
			t.Errorf("%s: %v", name, err)
		}
		if !c.err { // the addresses end in 1 and 2
			if s, d := got.Src.AsSlice(), got.Dst.AsSlice(); s[len(s)-1] != 1 || d[len(d)-1] != 2 {
				t.Errorf("%s: addresses %v %v", name, got.Src, got.Dst)
			}
			c.want.Src, c.want.Dst = got.Src, got.Dst
		}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
