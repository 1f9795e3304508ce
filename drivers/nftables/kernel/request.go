package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// request sends one message and calls f with each answer. With NLM_F_DUMP in
// flags it is a dump, complete or an error. Payloads handed to f are the
// caller's to keep. The errors are bare errnos (with the kernel's own words if
// there are any), context errors, errInterrupted and errMalformed.
//
// After an error of a dump the socket may hold the rest of it: close it.
func (s *socket) request(ctx context.Context, typ, flags uint16, family uint8, resID uint16, payload []byte,
	f func(m message) error) error {
	return s.exchange(ctx, typ, flags, family, resID, payload, bytes.Clone, f)
}

// requestBorrowed is request with payloads that are valid until f returns only:
// what f needs longer it copies.
func (s *socket) requestBorrowed(ctx context.Context, typ, flags uint16, family uint8, resID uint16, payload []byte,
	f func(m message) error) error {
	return s.exchange(ctx, typ, flags, family, resID, payload, func(b []byte) []byte { return b }, f)
}

// exchange sends one message and hands the answers to f, each datagram made by
// own out of the receive buffer.
func (s *socket) exchange(ctx context.Context, typ, flags uint16, family uint8, resID uint16, payload []byte,
	own func([]byte) []byte, f func(m message) error) error {
	s.seq++
	dump := flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP
	flags |= unix.NLM_F_REQUEST
	if !dump {
		flags |= unix.NLM_F_ACK
	}
	msg, at := appendHeader(make([]byte, 0, 64+len(payload)), typ, flags, s.seq, family, resID)
	msg = append(msg, payload...)
	closeMessage(msg, at)
	if err := s.send(msg); err != nil {
		return err
	}
	interrupted := false
	for {
		b, err := s.recv(ctx)
		if err == unix.ENOBUFS && dump {
			return errInterrupted
		}
		if err != nil {
			return err
		}
		done, err := s.answers(own(b), &interrupted, f)
		if err != nil {
			return err
		}
		if done {
			break
		}
	}
	if interrupted {
		return errInterrupted
	}
	return nil
}

// answers handles one datagram; done is set where it ends the exchange.
func (s *socket) answers(b []byte, interrupted *bool, f func(m message) error) (done bool, err error) {
	err = split(b, func(m message) error {
		if m.seq != s.seq || done {
			return nil // left from an exchange that was given up
		}
		if m.flags&flagDumpIntr != 0 {
			*interrupted = true
		}
		switch m.typ {
		case unix.NLMSG_NOOP:
			return nil
		case unix.NLMSG_OVERRUN:
			return errInterrupted
		case unix.NLMSG_DONE:
			done = true
			if len(m.payload) >= 4 {
				if code := int32(binary.NativeEndian.Uint32(m.payload)); code < 0 {
					return unix.Errno(-code)
				}
			}
			return nil
		case unix.NLMSG_ERROR:
			done = true
			e, err := parseError(m)
			if err != nil || e.errno == 0 {
				return err
			}
			return e.err()
		}
		if *interrupted {
			return nil // the rest is drained and thrown away
		}
		return f(m)
	})
	return done, err
}

// kernelError is an NLMSG_ERROR message.
type kernelError struct {
	errno unix.Errno
	text  string // NLMSGERR_ATTR_MSG: the kernel's own words, or ""
	offs  uint32 // NLMSGERR_ATTR_OFFS: the offending attribute's place in the message, or 0
}

// err is the error: errno, and the kernel's words if it said any.
func (e kernelError) err() error {
	if e.text == "" {
		return e.errno
	}
	return fmt.Errorf("%w (the kernel says: %s)", e.errno, e.text)
}

// parseError decodes struct nlmsgerr and what NETLINK_EXT_ACK adds to it.
func parseError(m message) (kernelError, error) {
	if len(m.payload) < nlmsgErrLen {
		return kernelError{}, fmt.Errorf("%w: error message of %d bytes", errMalformed, len(m.payload))
	}
	e := kernelError{errno: unix.Errno(-int32(binary.NativeEndian.Uint32(m.payload)))}
	if m.flags&flagAckTLVs == 0 {
		return e, nil
	}
	skip := nlmsgErrLen
	if m.flags&flagCapped == 0 { // the failing message comes first, whole
		skip = 4 + align(int(min(binary.NativeEndian.Uint32(m.payload[4:]), 1<<30)))
	}
	if skip < nlmsgErrLen || skip > len(m.payload) {
		return kernelError{}, fmt.Errorf("%w: error message of %d bytes quotes %d", errMalformed, len(m.payload), skip)
	}
	in := walk(m.payload[skip:])
	for in.next() {
		switch in.typ {
		case errAttrMsg:
			e.text = in.str()
		case errAttrOffs:
			if len(in.val) == 4 {
				e.offs = binary.NativeEndian.Uint32(in.val)
			}
		}
	}
	return e, in.err
}

// errnoOf finds the errno in an error; 0 if there is none.
func errnoOf(err error) unix.Errno {
	var no unix.Errno
	if errors.As(err, &no) {
		return no
	}
	return 0
}
