package session

import (
	"context"
	"encoding/xml"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Notification is an event that a server reported (RFC 5277).
type Notification struct {
	Time time.Time // the server's clock
	Name xml.Name  // of the event: "netconf-config-change"
	Raw  []byte    // the event, as a document of its own
	// Missed is how many came after this one and were thrown away, because nobody read
	// them: whoever follows a device by its events has to read it.
	Missed int
}

// maxQueued is how many events wait for their reader.
const maxQueued = 1024

func readNotification(m *message) (Notification, error) {
	var n Notification
	for _, c := range m.children {
		if c.start.Name == (xml.Name{Space: nsNotification, Local: "eventTime"}) {
			at, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(c.inner)))
			if err != nil {
				return n, fmt.Errorf("the server sent a notification of the time %.60q", c.inner)
			}
			n.Time = at
		} else if n.Raw == nil {
			n.Name, n.Raw = c.start.Name, m.document(c)
		}
	}
	if n.Raw == nil {
		return n, fmt.Errorf("the server sent a notification without an event")
	}
	return n, nil
}

// queue holds events between the reader, which must never wait, and whoever reads them.
type queue struct {
	mu   sync.Mutex
	list []Notification
	more chan struct{}
	out  chan Notification
}

func newQueue() *queue {
	return &queue{more: make(chan struct{}, 1), out: make(chan Notification)}
}

func (q *queue) put(n Notification) {
	q.mu.Lock()
	if len(q.list) == maxQueued {
		q.list[maxQueued-1].Missed++
	} else {
		q.list = append(q.list, n)
	}
	q.mu.Unlock()
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// pump hands events out until done.
func (q *queue) pump(done <-chan struct{}) {
	defer close(q.out)
	for {
		q.mu.Lock()
		var n Notification
		some := len(q.list) > 0
		if some {
			n = q.list[0]
			q.list = q.list[1:]
		}
		q.mu.Unlock()
		if !some {
			select {
			case <-q.more:
			case <-done:
				return
			}
			continue
		}
		select {
		case q.out <- n:
		case <-done:
			return
		}
	}
}

// Subscribe asks for the server's events. ctx bounds the asking; the channel is closed
// when the session is over. A session subscribes once. A server without Interleave takes
// no other rpc on it.
func (s *Session) Subscribe(ctx context.Context) (<-chan Notification, error) {
	if !s.caps.Notification() {
		return nil, s.lacks("create-subscription", "notifications")
	}
	s.wire.mu.Lock()
	taken := s.wire.listen
	s.wire.listen = true // before it is asked for: an event may come before the reply
	s.wire.mu.Unlock()
	if taken {
		return nil, fail(ErrInvalid, nil, "create-subscription: the session with %q has a subscription", s.address)
	}
	err := s.simple(ctx, struct {
		XMLName xml.Name `xml:"urn:ietf:params:xml:ns:netconf:notification:1.0 create-subscription"`
	}{})
	if err != nil {
		s.wire.mu.Lock()
		s.wire.listen = false
		s.wire.mu.Unlock()
		return nil, err
	}
	return s.wire.events.out, nil
}
