package netconftest

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// conn is one session.
type conn struct {
	s    *Server
	nc   net.Conn
	ch   ssh.Channel
	user string
	id   int

	// Under the server's lock.
	dead       bool // what is still under way has no effect
	begun      bool // of the one goroutine that takes requests
	subscribed bool
	closing    bool
	held       [][]byte // notifications that are to be sent

	chunked bool
	write   sync.Mutex
}

// maxMessage is how large an rpc may be, in bytes.
const maxMessage = 64 << 20

// session says hello and does rpcs until the end.
func (c *conn) session() {
	var hello bytes.Buffer
	hello.WriteString(xml.Header + `<hello xmlns="` + nsBase + `"><capabilities>`)
	for _, u := range c.s.capabilities {
		hello.WriteString("<capability>")
		xml.EscapeText(&hello, []byte(u))
		hello.WriteString("</capability>")
	}
	fmt.Fprintf(&hello, "</capabilities><session-id>%d</session-id></hello>]]>]]>", c.id)
	if c.send(hello.Bytes()) != nil {
		return
	}
	r := bufio.NewReader(c.ch)
	raw, err := readEnd(r)
	if err != nil {
		return
	}
	theirs, err := Parse(raw)
	if err != nil || theirs.Name != (xml.Name{Space: nsBase, Local: "hello"}) || theirs.Child("session-id") != nil {
		return
	}
	said := map[string]bool{}
	for _, u := range theirs.Child("capabilities").All("capability") {
		said[u.Text] = true
	}
	v10, v11 := "urn:ietf:params:netconf:base:1.0", "urn:ietf:params:netconf:base:1.1"
	c.chunked = said[v11] && c.s.has("base:1.1")
	if !c.chunked && !(said[v10] && c.s.has("base:1.0")) {
		return
	}
	lose := c.loses()
	for {
		read := readEnd
		if c.chunked {
			read = readChunks
		}
		raw, err := read(r)
		if err != nil {
			return
		}
		if lose {
			lose = false
			continue
		}
		if !c.rpc(raw) {
			return
		}
	}
}

func (c *conn) loses() bool {
	defer c.s.lock()()
	if c.s.faults.loseFirst == 0 {
		return false
	}
	c.s.faults.loseFirst--
	return true
}

// rpc does one, with its fault; false ends the session.
func (c *conn) rpc(raw []byte) bool {
	msg, err := Parse(raw)
	if err != nil || msg.Name != (xml.Name{Space: nsBase, Local: "rpc"}) {
		return false
	}
	head, id := "", false
	for _, a := range msg.attrs {
		var b bytes.Buffer
		xml.EscapeText(&b, []byte(a.Value))
		head += " " + a.Name.Local + `="` + b.String() + `"`
		id = id || a.Name.Local == "message-id"
	}
	var ans answer
	var f Fault
	switch {
	case !id:
		ans = refused([]Error{{Type: "rpc", Tag: "missing-attribute", BadAttribute: "message-id", BadElement: "rpc"}})
	case len(msg.Children) != 1:
		ans = refused(protocolError("missing-element", "rpc", "an rpc has one operation"))
	default:
		var going bool
		if ans, f, going = c.operate(msg.Children[0]); !going {
			return f.kind == ignore || f.kind == noReply
		}
	}
	return c.reply(head, ans, f)
}

// operate does the operation of an rpc; going is false if nothing is to be answered.
func (c *conn) operate(op *Node) (ans answer, f Fault, going bool) {
	s := c.s
	name := op.Name.Local
	s.mu.Lock()
	s.faults.counts[name]++
	f = s.faults.take(name)
	if s.faults.hang && name != "close-session" {
		f = Ignore()
	}
	before, after := s.faults.before[name], s.faults.after[name]
	s.mu.Unlock()
	if before != nil {
		before()
	}
	switch f.kind {
	case ignore, cutBefore:
		return ans, f, false
	case refuse:
		ans = refused(f.errors)
	case pretend:
	default:
		s.mu.Lock()
		dead := c.dead
		if !dead {
			ans = s.do(c, op)
		}
		s.mu.Unlock()
		if dead {
			return ans, Fault{kind: cutBefore}, false
		}
	}
	if after != nil {
		after()
	}
	return ans, f, f.kind != noReply && f.kind != cutAfter
}

// reply answers; false ends the session.
func (c *conn) reply(head string, ans answer, f Fault) bool {
	var b bytes.Buffer
	if f.kind == wrongID {
		head = ` message-id="none-of-yours"`
	}
	b.WriteString(xml.Header + `<rpc-reply xmlns="` + nsBase + `"` + head + `>`)
	warnings := 0
	if f.kind == warn {
		warnings = len(f.errors)
		for _, w := range f.errors {
			w.write(&b)
		}
	}
	for _, e := range ans.errs {
		e.write(&b)
	}
	switch {
	case f.kind == bare:
	case f.kind == malformed:
		b.WriteString("<ok></data>")
	case f.kind == oversized:
		b.WriteString("<!--" + strings.Repeat("x", f.size) + "--><ok/>")
	case f.kind == deep:
		b.WriteString(strings.Repeat("<a>", f.size) + strings.Repeat("</a>", f.size) + "<ok/>")
	case ans.data != nil:
		b.Write(ans.data)
	case len(ans.errs) == 0 && warnings == 0:
		b.WriteString("<ok/>")
	}
	b.WriteString("</rpc-reply>")
	out := c.frame(b.Bytes())
	if f.kind == cutMid {
		c.send(out[:len(out)/2])
		return false
	}
	if f.kind == twice {
		out = append(out, out...)
	}
	c.s.mu.Lock()
	for i := len(c.held) - 1; i >= 0; i-- {
		out = append(c.held[i], out...)
	}
	c.held = nil
	closing := c.closing
	c.s.mu.Unlock()
	return c.send(out) == nil && !closing
}

// frame frames a message. Chunks are short and of odd lengths, as those of netconfd are.
func (c *conn) frame(msg []byte) []byte {
	if !c.chunked {
		return append(msg, "]]>]]>"...)
	}
	var b bytes.Buffer
	for n := 7; len(msg) > 0; n = n*2 + 1 {
		part := msg[:min(n, len(msg))]
		msg = msg[len(part):]
		fmt.Fprintf(&b, "\n#%d\n%s", len(part), part)
	}
	b.WriteString("\n##\n")
	return b.Bytes()
}

func (c *conn) send(b []byte) error {
	c.write.Lock()
	defer c.write.Unlock()
	return c.put(b)
}

// put sends bytes in one packet, or each in its own.
func (c *conn) put(b []byte) error {
	c.s.mu.Lock()
	byByte := c.s.faults.byByte
	c.s.mu.Unlock()
	if !byByte {
		_, err := c.ch.Write(b)
		return err
	}
	for i := range b {
		if _, err := c.ch.Write(b[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// notify tells subscribers that running has changed (RFC 6470). The server is locked, so
// they are told by goroutines of their own.
func (s *Server) notify(session int, user string) {
	var who, b bytes.Buffer
	if session == 0 {
		who.WriteString("<server/>")
	} else {
		who.WriteString("<username>")
		xml.EscapeText(&who, []byte(user))
		fmt.Fprintf(&who, "</username><session-id>%d</session-id>", session)
	}
	fmt.Fprintf(&b, `<notification xmlns="%s"><eventTime>%s</eventTime><netconf-config-change xmlns="urn:ietf:params:xml:ns:yang:ietf-netconf-notifications"><changed-by>%s</changed-by><datastore>running</datastore></netconf-config-change></notification>`,
		nsEvents, s.o.Now().UTC().Format(time.RFC3339), who.String())
	for c := range s.conns {
		if !c.subscribed || c.dead {
			continue
		}
		c.held = append(c.held, c.frame(bytes.Clone(b.Bytes())))
		if !s.faults.mergeEvents {
			s.routines.Go(c.flush)
		}
	}
}

// flush sends the notifications that are held, in their order.
func (c *conn) flush() {
	c.write.Lock()
	defer c.write.Unlock()
	c.s.mu.Lock()
	held := c.held
	c.held = nil
	c.s.mu.Unlock()
	for _, b := range held {
		c.put(b)
	}
}

// readEnd reads a message of base:1.0.
func readEnd(r *bufio.Reader) ([]byte, error) {
	var msg []byte
	for {
		part, err := r.ReadSlice('>')
		msg = append(msg, part...)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(msg) > maxMessage {
			return nil, errors.New("too large")
		}
		if rest, ok := bytes.CutSuffix(msg, []byte("]]>]]>")); ok {
			return rest, nil
		}
	}
}

// readChunks reads a message of base:1.1 (RFC 6242 section 4.2).
func readChunks(r *bufio.Reader) ([]byte, error) {
	var msg []byte
	for {
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:]) != "\n#" {
			return nil, fmt.Errorf("not a chunk: %q", head)
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "#" && msg != nil {
			return msg, nil
		}
		n, err := strconv.ParseUint(line, 10, 32)
		if err != nil || n == 0 || line[0] == '0' || line[0] == '+' || len(msg)+int(n) > maxMessage {
			return nil, fmt.Errorf("a chunk of %q bytes", line)
		}
		part := make([]byte, n)
		if _, err := io.ReadFull(r, part); err != nil {
			return nil, err
		}
		msg = append(msg, part...)
	}
}
