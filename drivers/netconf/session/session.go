package session

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/Juniper/go-netconf/netconf"
	"golang.org/x/crypto/ssh"
)

// Session is a NETCONF session. Its methods may be called by several goroutines; rpcs
// wait for each other.
type Session struct {
	address string
	caps    Capabilities
	id      string
	wire    *wire
	nc      *netconf.Session
	client  *ssh.Client
	turn    chan struct{} // of the one who does an rpc
	limit   time.Duration
	warn    func(operation string, w *RPCError)
	running sync.WaitGroup
}

// Reply is the answer to an rpc that was not refused.
type Reply struct {
	// Inner is what the rpc-reply holds, as it came. Namespaces that are declared on the
	// rpc-reply itself are not in it: Element has them.
	Inner    []byte
	Warnings []*RPCError
	op       string
	m        *message
}

// OK reports whether the server said ok.
func (r *Reply) OK() bool {
	for _, c := range r.m.children {
		if c.start.Name == (xml.Name{Space: nsBase, Local: "ok"}) {
			return true
		}
	}
	return false
}

// Element returns an element of the reply that has a name of NETCONF's own namespace, as
// a document with all its namespaces; false if there is none, which is not an empty one.
func (r *Reply) Element(local string) ([]byte, bool) {
	for _, c := range r.m.children {
		if c.start.Name == (xml.Name{Space: nsBase, Local: local}) {
			return r.m.document(c), true
		}
	}
	return nil, false
}

// open says hello on a channel.
func open(ctx context.Context, rw io.ReadWriter, o Options, shut func()) (*Session, error) {
	rest := func() {
		timer := time.NewTimer(o.Rest)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	w := newWire(rw, o, rest, shut)
	s := &Session{address: o.address(), wire: w, turn: make(chan struct{}, 1), limit: o.RPCTimeout, warn: o.OnWarning}
	// A server that is silent is left when the context ends.
	stop := context.AfterFunc(ctx, func() { w.end(context.Cause(ctx)) })
	s.nc = netconf.NewSession(w)
	stop()
	if err := ctx.Err(); err != nil && w.helloErr == nil {
		w.helloErr = err
	}
	if w.helloErr != nil {
		w.end(w.helloErr)
		class, why := ErrProtocol, w.helloErr
		if ctx.Err() != nil {
			class, why = ErrUnreachable, fmt.Errorf("no hello of NETCONF came in time: %w", context.Cause(ctx))
		}
		return nil, fail(class, why, "%q: %v", s.address, why)
	}
	s.caps, s.id = newCapabilities(s.nc.ServerCapabilities), strconv.Itoa(s.nc.SessionID)
	s.running.Go(w.read)
	s.running.Go(func() { w.events.pump(w.done) })
	return s, nil
}

// Capabilities returns what the server can do.
func (s *Session) Capabilities() Capabilities { return s.caps }

// SessionID returns the id that the server gave the session: LockHolder of somebody
// else's error has it if this session holds a lock.
func (s *Session) SessionID() string { return s.id }

// RoundTrips counts what was sent so far that has to be answered: the hello and the rpcs.
func (s *Session) RoundTrips() int { return int(s.wire.sent.Load()) }

// Done is closed when the session is over.
func (s *Session) Done() <-chan struct{} { return s.wire.done }

// Err is why the session is over; nil if it is not.
func (s *Session) Err() error { return s.wire.over() }

// Close ends the session, politely if the server lets it within two seconds, and waits
// until nothing of it runs. A confirmed commit without Persist then goes back.
func (s *Session) Close() error {
	if s.Err() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		s.Do(ctx, struct { // what it answers does not matter
			XMLName xml.Name `xml:"close-session"`
		}{})
		cancel()
	}
	err := s.nc.Close()
	s.running.Wait()
	return err
}

// Do does one rpc, which is any value that encoding/xml writes as one element; without a
// namespace of its own it is in NETCONF's.
//
// A refusal is a *RefusedError. When ctx ends first, or RPCTimeout without a deadline of
// ctx's own, the session is over and the error is ErrLost, unless nothing was sent yet.
func (s *Session) Do(ctx context.Context, rpc any) (*Reply, error) {
	body, err := xml.Marshal(rpc)
	if err != nil {
		return nil, fail(ErrInvalid, err, "an rpc for %q cannot be written: %v", s.address, err)
	}
	op, err := parse(body, s.wire.maxDepth-1)
	if err != nil {
		return nil, fail(ErrInvalid, err, "an rpc for %q is %v", s.address, err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, s.limit)
		defer cancel()
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, s.unsent(op, context.Cause(ctx))
	}
	if err := s.Err(); err != nil {
		return nil, s.unsent(op, err)
	}
	if ctx.Err() != nil {
		return nil, s.unsent(op, context.Cause(ctx))
	}
	return s.exchange(ctx, op)
}

func (s *Session) unsent(op *message, why error) error {
	return fail(ErrClosed, why, "%s: %q was not asked: %v", op.root.Name.Local, s.address, why)
}

func (s *Session) exchange(ctx context.Context, op *message) (*Reply, error) {
	name := op.root.Name.Local
	stop := context.AfterFunc(ctx, func() { s.wire.end(context.Cause(ctx)) })
	defer stop()
	s.wire.last, s.wire.begun = nil, false
	_, err := s.nc.Exec(netconf.RawMethod(op.raw))
	m := s.wire.last
	if m == nil {
		if !s.wire.begun { // it could not be written, not even tried
			return nil, fail(ErrInvalid, err, "%s: not sent to %q: %v", name, s.address, err)
		}
		if over := s.Err(); over != nil {
			err = over
		}
		s.wire.end(err) // part of it may be on the way
		return nil, s.lost(name, err)
	}
	// go-netconf knows the first error only, and forgets the reply with it.
	var first *netconf.RPCError
	if err != nil && !errors.As(err, &first) {
		s.wire.end(err)
		return nil, s.lost(name, err)
	}
	errs, warnings, err := readErrors(m)
	if err != nil {
		s.wire.end(err)
		return nil, s.lost(name, err)
	}
	if s.warn != nil {
		for _, w := range warnings {
			s.warn(name, w)
		}
	}
	if len(errs) > 0 {
		return nil, &RefusedError{Operation: name, Address: s.address, Errors: errs}
	}
	return &Reply{Inner: m.inner, Warnings: warnings, op: name, m: m}, nil
}

func (s *Session) lost(op string, why error) error {
	return fail(ErrLost, why, "%s: the session with %q was lost (%v): %v", op, s.address, why, ErrLost)
}

// lacks is the error of what the server's hello does not offer.
func (s *Session) lacks(op, what string) error {
	return fail(ErrInvalid, nil, "%s: %q has no %s", op, s.address, what)
}

// simple does an rpc that is answered by ok. An answer that is neither ok, nor an error,
// nor warnings (RFC 6241 section 4.4: ok is left out then) tells nothing.
func (s *Session) simple(ctx context.Context, rpc any) error {
	r, err := s.Do(ctx, rpc)
	if err != nil {
		return err
	}
	if !r.OK() && (len(r.Warnings) == 0 || len(r.m.children) > len(r.Warnings)) {
		why := fmt.Errorf("the reply is neither ok nor an error: %.200q", r.Inner)
		s.wire.end(why)
		return s.lost(r.op, why)
	}
	return nil
}
