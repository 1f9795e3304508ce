package netconftest

import (
	"bytes"
	"slices"
	"strconv"
)

// answer is what an operation comes to: errors, or XML; nil is ok.
type answer struct {
	errs []Error
	data []byte
}

func refused(errs []Error) answer { return answer{errs: errs} }

// do performs an rpc. The server is locked.
func (s *Server) do(c *conn, op *Node) answer {
	if op.Name.Space == nsEvents && op.Name.Local == "create-subscription" && s.has("notification:1.0") {
		if c.subscribed {
			return refused(protocolError("operation-failed", "", "the session has a subscription"))
		}
		c.subscribed = true
		return answer{}
	}
	if op.Name.Space != nsBase {
		return refused(protocolError("unknown-namespace", op.Name.Local, ""))
	}
	if c.subscribed && !s.has("interleave:1.0") && op.Name.Local != "close-session" {
		return refused(protocolError("operation-not-supported", "", "the session only reports events"))
	}
	candidate := s.has("candidate:1.0")
	_, confirm11 := s.confirmed()
	switch name := op.Name.Local; {
	case name == "get-config" || name == "get":
		return s.get(op)
	case name == "edit-config":
		return refused(s.editConfig(c, op))
	case name == "copy-config":
		return refused(s.copyConfig(c, op))
	case name == "lock" || name == "unlock":
		target, errs := s.store(op, "target")
		if errs == nil && name == "lock" {
			errs = s.lockStore(c.id, target)
		} else if errs == nil {
			errs = s.unlockStore(c.id, target)
		}
		return refused(errs)
	case name == "commit" && candidate:
		return refused(s.commitRPC(c, op))
	case name == "cancel-commit" && confirm11:
		id := op.Child("persist-id").Value()
		if errs := s.mayEnd(c.id, id); errs != nil {
			return refused(errs)
		}
		if err := s.rollback(); err != nil {
			return refused(protocolError("operation-failed", "", err.Error()))
		}
		return answer{}
	case name == "discard-changes" && candidate:
		if s.lockedByOther(c.id, "candidate") {
			return refused(inUse())
		}
		if !s.o.LikeNetconfd {
			s.discard()
		}
		return answer{}
	case name == "validate" && (s.has("validate:1.0") || s.has("validate:1.1")):
		source, errs := s.store(op, "source")
		if errs == nil {
			errs = s.validate(*s.pick(source))
			s.validated = s.o.LikeNetconfd && source == "candidate"
		}
		return refused(errs)
	case name == "close-session":
		c.closing = true
		return answer{}
	case name == "kill-session":
		return refused(s.kill(c, op))
	}
	return refused(protocolError("operation-not-supported", op.Name.Local, "the server has no such operation"))
}

func (s *Server) confirmed() (any, v11 bool) {
	v11 = s.has("confirmed-commit:1.1")
	return v11 || s.has("confirmed-commit:1.0"), v11
}

// store is the datastore that an operation names.
func (s *Server) store(op *Node, where string) (string, []Error) {
	n := op.Child(where)
	if n == nil || len(n.Children) != 1 {
		return "", protocolError("missing-element", where, "one datastore is to be named")
	}
	name := n.Children[0].Name.Local
	known := name == "running" || name == "candidate" && s.has("candidate:1.0") || name == "startup" && s.o.Startup
	if !known {
		return "", protocolError("invalid-value", name, "config not found")
	}
	return name, nil
}

func (s *Server) pick(name string) **Node {
	switch name {
	case "candidate":
		return &s.candidate
	case "startup":
		return &s.startup
	}
	return &s.running
}

func (s *Server) get(op *Node) answer {
	source := "running"
	if op.Name.Local == "get-config" {
		var errs []Error
		if source, errs = s.store(op, "source"); errs != nil {
			return refused(errs)
		}
	}
	data := s.read(source)
	if f := op.Child("filter"); f != nil {
		for _, a := range f.attrs {
			if a.Name.Local == "type" && a.Value != "subtree" {
				return refused([]Error{{Type: "protocol", Tag: "bad-attribute", BadAttribute: "type", BadElement: "filter"}})
			}
		}
		data = filter(data, f)
	}
	var b bytes.Buffer
	out := &Node{Name: data.Name, Children: data.Children}
	out.Name.Local = "data"
	out.write(&b, nsBase, s.faults.keysLast)
	return answer{data: b.Bytes()}
}

func (s *Server) editConfig(c *conn, op *Node) []Error {
	target, errs := s.store(op, "target")
	if errs != nil {
		return errs
	}
	for _, x := range op.Children {
		ok := slices.Contains([]string{"target", "default-operation", "error-option", "config"}, x.Name.Local) ||
			x.Name.Local == "test-option" && (s.has("validate:1.0") || s.has("validate:1.1"))
		if !ok {
			return protocolError("unknown-element", x.Name.Local, "")
		}
	}
	value := func(name, or string, of ...string) string {
		n := op.Child(name)
		if n == nil {
			return or
		}
		if !slices.Contains(of, n.Text) {
			errs = append(errs, protocolError("invalid-value", name, "no such value")...)
		}
		return n.Text
	}
	def := value("default-operation", "merge", "merge", "replace", "none")
	test := value("test-option", "test-then-set", "test-then-set", "set", "test-only")
	onError := value("error-option", "stop-on-error", "stop-on-error", "continue-on-error", "rollback-on-error")
	config := op.Child("config")
	switch {
	case errs != nil:
		return errs
	case config == nil:
		return protocolError("missing-element", "config", "")
	case test == "test-only" && !s.has("validate:1.1"):
		return protocolError("invalid-value", "test-option", "")
	case onError == "rollback-on-error" && !s.has("rollback-on-error:1.0"):
		return protocolError("invalid-value", "error-option", "")
	case target == "running" && !s.has("writable-running:1.0"), target == "startup":
		return protocolError("operation-failed", "", "cannot write to this configuration directly")
	case s.lockedByOther(c.id, target):
		return inUse()
	}
	next := (*s.pick(target)).clone()
	e := s.editor()
	if e.edit(next, config, def); len(e.errs) > 0 {
		return e.errs
	}
	// What runs is always valid; the candidate need not be.
	if target == "running" || test != "set" && (s.has("validate:1.0") || s.has("validate:1.1")) {
		if errs := s.validate(next); errs != nil {
			return errs
		}
	}
	switch {
	case test == "test-only":
	case target == "running":
		s.become(next, c.id, c.user)
		s.save()
	default:
		if !next.equal(s.candidate) {
			s.dirty = c.id
		}
		s.candidate = next
	}
	return nil
}

func (s *Server) copyConfig(c *conn, op *Node) []Error {
	target, errs := s.store(op, "target")
	if errs != nil {
		return errs
	}
	var from *Node
	if in := op.Child("source").Child("config"); in != nil {
		from = &Node{Name: s.running.Name}
		e := s.editor()
		if e.edit(from, in, "merge"); len(e.errs) > 0 {
			return e.errs
		}
	} else {
		source, errs := s.store(op, "source")
		if errs != nil {
			return errs
		}
		if source == target {
			return protocolError("invalid-value", "source", "source and target are the same")
		}
		from = (*s.pick(source)).clone()
	}
	switch {
	case s.lockedByOther(c.id, target):
		return inUse()
	case target == "running" && !s.has("writable-running:1.0"):
		return protocolError("operation-failed", "", "cannot write to this configuration directly")
	}
	if errs := s.validate(from); errs != nil {
		return errs
	}
	switch target {
	case "running":
		s.become(from, c.id, c.user)
		s.save()
	case "candidate":
		s.candidate, s.dirty = from, c.id
		if from.equal(s.running) {
			s.dirty = 0 // as after discard-changes
		}
	default:
		s.startup = from
	}
	return nil
}

func (s *Server) commitRPC(c *conn, op *Node) []Error {
	x := commit{timeout: 600}
	confirm, v11 := s.confirmed()
	for _, p := range op.Children {
		switch name := p.Name.Local; {
		case name == "confirmed" && confirm:
			x.confirmed = true
		case name == "confirm-timeout" && confirm:
			n, err := strconv.ParseUint(p.Text, 10, 32)
			if err != nil || n == 0 {
				return protocolError("invalid-value", name, "1 to 4294967295 seconds")
			}
			x.timeout = int(n)
		case name == "persist" && v11:
			x.persist = p.Text
		case name == "persist-id" && v11:
			x.persistID = p.Text
		default:
			return protocolError("unknown-element", name, "")
		}
	}
	if x.persist != "" && !x.confirmed {
		return protocolError("invalid-value", "persist", "the commit is not a confirmed one")
	}
	return s.commit(c.id, c.user, x)
}

func (s *Server) kill(c *conn, op *Node) []Error {
	id, err := strconv.Atoi(op.Child("session-id").Value())
	if err != nil || id == c.id {
		return protocolError("invalid-value", "session-id", "not a session that can be ended")
	}
	for other := range s.conns {
		if other.id == id && !other.dead {
			other.dead = true
			s.left(id)
			other.nc.Close()
			return nil
		}
	}
	return protocolError("invalid-value", "session-id", "there is no such session")
}
