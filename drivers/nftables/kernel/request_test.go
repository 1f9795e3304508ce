package kernel

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// datagram makes messages with the sequence number 7.
func datagram(types []uint16, flags uint16, payload []byte) (b []byte) {
	for _, typ := range types {
		var at int
		b, at = appendHeader(b, typ, flags, 7, 0, 0)
		b = append(b[:at+nlmsgHdrLen], payload...)
		closeMessage(b, at)
		b = appendPad(b)
	}
	return b
}

func TestInterruptedDumpsAreErrors(t *testing.T) {
	s := &socket{seq: 7}
	data, end := []uint16{nftType}, []uint16{unix.NLMSG_DONE}
	for name, c := range map[string]struct {
		b           []byte
		done, inter bool
		calls       int
		err         error
	}{
		"data":              {b: datagram(data, unix.NLM_F_MULTI, host(0)), calls: 1},
		"end":               {b: datagram(end, unix.NLM_F_MULTI, host(0)), done: true},
		"interrupted":       {b: datagram(data, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, host(0)), inter: true},
		"interrupted end":   {b: datagram(end, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, host(0)), inter: true, done: true},
		"overrun":           {b: datagram([]uint16{unix.NLMSG_OVERRUN}, 0, host(0)), err: errInterrupted},
		"error at the end":  {b: datagram(end, 0, host(^uint32(unix.EINTR)+1)), done: true, err: unix.EINTR},
		"error":             {b: datagram([]uint16{unix.NLMSG_ERROR}, 0, append(host(^uint32(unix.ENOENT)+1), make([]byte, 16)...)), done: true, err: unix.ENOENT},
		"cut error":         {b: datagram([]uint16{unix.NLMSG_ERROR}, 0, host(0)), done: true, err: errMalformed},
		"cut message":       {b: datagram(data, 0, host(0))[:18], err: errMalformed},
		"somebody else's":   {b: func() []byte { b := datagram(end, 0, host(0)); b[8] = 6; return b }()},
		"nothing after end": {b: datagram([]uint16{unix.NLMSG_DONE, nftType}, 0, host(0)), done: true},
	} {
		calls, inter := 0, false
		done, err := s.answers(c.b, &inter, func(message) error { calls++; return nil })
		if done != c.done || inter != c.inter || calls != c.calls || !errors.Is(err, c.err) {
			t.Errorf("%s: done %v, interrupted %v, %d calls, %v", name, done, inter, calls, err)
		}
	}
}

func TestExtendedErrors(t *testing.T) {
	head := append(host(^uint32(unix.EINVAL)+1), make([]byte, nlmsgHdrLen)...)
	tlv := appendString(appendAttr(nil, errAttrOffs, host(20)), errAttrMsg, "no such thing")
	e, err := parseError(message{flags: flagCapped | flagAckTLVs, payload: slices.Concat(head, tlv)})
	if err != nil || e.errno != unix.EINVAL || e.offs != 20 || e.text != "no such thing" {
		t.Errorf("%+v %v", e, err)
	}
	if got := e.err().Error(); got != "invalid argument (the kernel says: no such thing)" || !errors.Is(e.err(), unix.EINVAL) {
		t.Error(got)
	}
	// With the failing message of 24 bytes in full.
	copy(head[4:], host(24))
	e, err = parseError(message{flags: flagAckTLVs, payload: slices.Concat(head, make([]byte, 8), tlv)})
	if err != nil || e.offs != 20 {
		t.Errorf("%+v %v", e, err)
	}
	for errno, want := range map[unix.Errno]error{unix.EPROTONOSUPPORT: ErrUnsupported, unix.EPERM: ErrPrivilege, unix.EMFILE: unix.EMFILE} {
		if err := openError(errno); !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	for errno, want := range map[unix.Errno]error{unix.EMSGSIZE: ErrTooLarge, unix.ENOBUFS: unix.ENOBUFS, unix.EBADF: unix.EBADF} {
		if err := sendError(errno, 9, 8); !errors.Is(err, want) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

func TestSuspiciousDumps(t *testing.T) {
	el := []ruleset.Element{{Flags: ruleset.ElemCatchAll}, {Key: be(1)}, {Key: be(2), Flags: ruleset.ElemIntervalEnd}, {Key: be(2)}}
	if !slices.IsSortedFunc(el, func(a, b ruleset.Element) int { return compareElements(&a, &b) }) || doubled(el) {
		t.Error("the end of one interval and the begin of the next are not the same element")
	}
	if !doubled([]ruleset.Element{{Key: be(1)}, {Key: be(1)}}) {
		t.Error("an element twice")
	}
	s := ruleset.Set{Count: 3, Counted: true}
	if !complete(&s, el) || complete(&s, el[:3]) || !complete(&ruleset.Set{}, el) || complete(&ruleset.Set{Counted: true}, el[1:]) || !complete(&ruleset.Set{Count: 9, Counted: true, Flags: ruleset.SetTimeout}, el) {
		t.Error("count")
	}
}

// TestNothingIsLeftOpen counts file descriptors.
func TestNothingIsLeftOpen(t *testing.T) {
	path := freshNS(t)
	count := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	before := 0
	for i := range 20 {
		c, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		load(t, c, 10)
		_, _ = c.Elements(context.Background(), inet, "t", "absent")
		_, _ = c.ListFlows(context.Background(), 0, 0, 0)
		read(t, c)
		_, _ = Open("absent")
		r := subscribe(t, path, 3, 64)
		var b Batch
		b.DelTable(inet, "t")
		commit(t, c, &b)
		c.Close()
		c.Close()
		r.Close()
		if _, err := c.Read(context.Background(), all); !errors.Is(err, os.ErrClosed) {
			t.Fatalf("read after Close: %v", err)
		}
		if i == 0 {
			before = count()
		}
	}
	if after := count(); after > before {
		t.Errorf("%d files open, %d before", after, before)
	}
}
