package session

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Juniper/go-netconf/netconf"
)

// wire is the netconf.Transport of a session: messages on one SSH channel. Its reader
// sorts what comes into the reply that is waited for and notifications; whatever else
// comes ends the session.
type wire struct {
	framer   *framer
	maxDepth int
	base10   bool // offer base:1.0 only
	rest     func()
	shut     func() // closes everything below, so that reads and writes return

	hello    *netconf.HelloMessage
	helloErr error // go-netconf passes over errors of the hello

	mu     sync.Mutex
	expect string // the message-id that is waited for; "" for none
	listen bool   // somebody has subscribed to notifications
	cause  error  // why it is over

	events  *queue        // of notifications
	replies chan *message // holds at most the one that is waited for
	done    chan struct{} // closed when nothing more comes
	once    sync.Once
	sent    atomic.Int64 // rpcs, and the hello
	last    *message     // the reply that Receive returned; of the one who does an rpc
	begun   bool         // Send has begun to write; of the same
}

func newWire(rw io.ReadWriter, o Options, rest, shut func()) *wire {
	return &wire{
		framer: newFramer(rw, rw, o.MaxMessage), maxDepth: o.MaxDepth, base10: o.Base10, rest: rest, shut: shut,
		events: newQueue(), replies: make(chan *message, 1), done: make(chan struct{}),
	}
}

// end ends the session for a reason; only the first counts.
func (w *wire) end(cause error) {
	w.once.Do(func() {
		w.mu.Lock()
		w.cause = cause
		w.mu.Unlock()
		w.shut()
		close(w.done)
	})
}

// over is why the session is over; nil if it is not.
func (w *wire) over() error {
	select {
	case <-w.done:
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.cause
	default:
		return nil
	}
}

// ReceiveHello reads the server's hello. It never returns a nil one, which go-netconf
// could not bear; helloErr has what was wrong with it.
func (w *wire) ReceiveHello() (*netconf.HelloMessage, error) {
	w.hello, w.helloErr = w.receiveHello()
	if w.hello == nil {
		w.hello = &netconf.HelloMessage{}
	}
	return w.hello, w.helloErr
}

func (w *wire) receiveHello() (*netconf.HelloMessage, error) {
	raw, err := w.framer.read()
	if err != nil {
		return nil, fmt.Errorf("no hello came: %w", err)
	}
	m, err := parse(raw, w.maxDepth)
	if err != nil {
		return nil, fmt.Errorf("the hello is %w", err)
	}
	if !m.is(nsBase, "hello") {
		return nil, fmt.Errorf("the server begins with %q, not with a hello of NETCONF", m.root.Name.Local)
	}
	var x struct {
		Capabilities []string `xml:"capabilities>capability"`
		SessionID    string   `xml:"session-id"`
	}
	if err := xml.Unmarshal(m.raw, &x); err != nil {
		return nil, fmt.Errorf("the hello cannot be read: %w", err)
	}
	// RFC 6241 section 1.1: 1 to 4294967295. A server that gives none takes itself for a client.
	id, err := strconv.ParseUint(strings.TrimSpace(x.SessionID), 10, 32)
	if err != nil || id == 0 {
		return nil, fmt.Errorf("the hello has the session-id %q", x.SessionID)
	}
	c := newCapabilities(x.Capabilities)
	if !c.Has(base10) && !c.Has(base11) {
		return nil, errors.New("the server has neither base:1.0 nor base:1.1")
	}
	if w.base10 && !c.Has(base10) {
		return nil, errors.New("the server has no base:1.0, and nothing else is to be offered")
	}
	return &netconf.HelloMessage{Capabilities: c.All(), SessionID: int(id)}, nil
}

const (
	base10 = "urn:ietf:params:netconf:base:1.0"
	base11 = "urn:ietf:params:netconf:base:1.1"
)

// SendHello sends ours and begins to read replies.
func (w *wire) SendHello(*netconf.HelloMessage) error {
	if w.helloErr != nil {
		return w.helloErr
	}
	hello := &netconf.HelloMessage{Capabilities: []string{base10}}
	if !w.base10 {
		hello.Capabilities = append(hello.Capabilities, base11)
	}
	b, err := xml.Marshal(hello)
	if err == nil {
		err = w.framer.write(append([]byte(xml.Header), b...))
	}
	if err != nil {
		w.helloErr = fmt.Errorf("the hello cannot be sent: %w", err)
		return w.helloErr
	}
	w.sent.Add(1)
	// Each side decides by what both said (RFC 6242 section 4.1).
	w.framer.chunked = !w.base10 && newCapabilities(w.hello.Capabilities).Has(base11)
	// Some servers lose an rpc that they read together with the hello, and never answer it.
	w.rest()
	return nil
}

// SetVersion does nothing: go-netconf decides by the server's hello alone.
func (w *wire) SetVersion(string) {}

// Send sends one rpc, and remembers what its reply must answer.
func (w *wire) Send(rpc []byte) error {
	m, err := parse(rpc, w.maxDepth)
	if err != nil {
		return err
	}
	id := m.attr("message-id")
	if !m.is(nsBase, "rpc") || id == "" {
		return errors.New("not an rpc with a message-id")
	}
	if err := w.framer.writable(rpc); err != nil {
		return err
	}
	w.mu.Lock()
	w.expect = id
	w.mu.Unlock()
	w.begun = true
	w.sent.Add(1)
	return w.framer.write(rpc)
}

// Receive waits for the reply.
func (w *wire) Receive() ([]byte, error) {
	select {
	case w.last = <-w.replies:
	default:
		select {
		case w.last = <-w.replies:
		case <-w.done:
			// Both may be there: an answer is one, also where the server hangs up after it.
			select {
			case w.last = <-w.replies:
			default:
				return nil, w.over()
			}
		}
	}
	return w.last.raw, nil
}

// Close ends the session.
func (w *wire) Close() error {
	w.end(errors.New("it was closed"))
	return nil
}

// read sorts messages until the session is over.
func (w *wire) read() {
	for {
		raw, err := w.framer.read()
		if err == nil {
			err = w.sort(raw)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("the server closed it: %w", err)
			}
			w.end(err)
			return
		}
	}
}

func (w *wire) sort(raw []byte) error {
	m, err := parse(raw, w.maxDepth)
	if err != nil {
		return fmt.Errorf("the server sent a message that is %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case m.is(nsBase, "rpc-reply"):
		id := m.attr("message-id")
		if w.expect == "" {
			return fmt.Errorf("the server sent a reply %.60q that nobody waits for", id)
		}
		if id != w.expect {
			return fmt.Errorf("the server sent a reply to %.60q where %q is waited for", id, w.expect)
		}
		w.expect = ""
		w.replies <- m // has room: there is one for each that is expected
		return nil
	case m.is(nsNotification, "notification"):
		if !w.listen {
			return nil // some servers send what nobody subscribed to
		}
		n, err := readNotification(m)
		if err != nil {
			return err
		}
		w.events.put(n)
		return nil
	}
	return fmt.Errorf("the server sent %.60q, neither a reply nor a notification", m.root.Name.Local)
}

// settle is the rest after the hello.
const settle = 50 * time.Millisecond
