package netconftest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Options say what a server is like.
type Options struct {
	// Keys are the leafs that tell the entries of a list apart, by the list's path of local
	// names; "." is a leaf-list.
	Keys map[string][]string
	// Namespaces that the server has models of; nil takes any.
	Namespaces []string
	// Running is what runs, and is saved, at the start: what a config element holds.
	Running string
	// Validate refuses a configuration. It must not call the server, nor must Follow.
	Validate func(config *Node) []Error
	// Follow is told of every change of running, before whoever made it gets an answer.
	Follow func(running *Node)

	User, Password string          // "admin", "secret" if empty
	Authorized     []ssh.PublicKey // that may log in as User
	AskPassword    bool            // by keyboard-interactive only

	// LikeNetconfd makes mistakes of netconfd 2.13's: while a confirmed commit waits no other
	// session may lock the candidate, either; discard-changes answers ok and
	// discards nothing (a copy of running to the candidate does, and giving back its lock);
	// the commit after a validate answers ok and commits nothing; and what an edit removes
	// from an element that is not there yet is made with it.
	LikeNetconfd bool

	Startup         bool     // what a restart begins with is a datastore
	WritableRunning bool     // running can be edited
	Without         []string // capabilities that the server lacks: "candidate:1.0", "base:1.1"
	With            []string // URIs of more: of modules
	Now             func() time.Time
}

// Server is a simulated switch.
type Server struct {
	o            Options
	capabilities []string
	listener     net.Listener
	gate         gate
	routines     sync.WaitGroup // goroutines

	mu                          sync.Mutex
	host                        ssh.Signer
	conns                       map[*conn]bool
	closed                      bool
	lastID                      int
	running, candidate, startup *Node
	dirty                       int // session that has changed the candidate last; 0 if it is clean
	locks                       map[string]int
	pending                     *pending
	validated                   bool // since, the next commit does nothing
	stale                       *Node
	staleReads                  int
	faults                      faults
}

func (s *Server) lock() func() {
	s.mu.Lock()
	return s.mu.Unlock
}

// Start starts a server on a free port of the loopback.
func Start(o Options) (*Server, error) {
	if o.User == "" {
		o.User = "admin"
	}
	if o.Password == "" {
		o.Password = "secret"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, conns: map[*conn]bool{}, locks: map[string]int{}}
	s.faults.init()
	s.gate.init()
	s.capabilities = o.capabilities()
	in, err := parseConfig(o.Running)
	if err != nil {
		return nil, fmt.Errorf("the configuration to start with: %w", err)
	}
	s.running = &Node{Name: xml.Name{Space: nsBase, Local: "config"}}
	e := s.editor()
	if e.edit(s.running, in, "merge"); len(e.errs) > 0 {
		return nil, fmt.Errorf("the configuration to start with: %w", first(e.errs))
	}
	s.startup, s.candidate = s.running.clone(), s.running.clone()
	if err := s.NewHostKey(); err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	s.routines.Go(s.accept)
	return s, nil
}

func (o Options) capabilities() []string {
	names := []string{"candidate:1.0", "confirmed-commit:1.0", "confirmed-commit:1.1", "rollback-on-error:1.0", "validate:1.0", "validate:1.1", "notification:1.0", "interleave:1.0"}
	if o.Startup {
		names = append(names, "startup:1.0")
	}
	if o.WritableRunning {
		names = append(names, "writable-running:1.0")
	}
	out := []string{"urn:ietf:params:netconf:base:1.0", "urn:ietf:params:netconf:base:1.1"}
	for _, n := range names {
		out = append(out, "urn:ietf:params:netconf:capability:"+n)
	}
	out = slices.DeleteFunc(out, func(c string) bool {
		return slices.ContainsFunc(o.Without, func(n string) bool { return strings.HasSuffix(c, ":"+n) })
	})
	return append(out, o.With...)
}

// Address is where the server listens.
func (s *Server) Address() string { return s.listener.Addr().String() }

// User and Password log in.
func (s *Server) User() string { return s.o.User }

// Password is the user's.
func (s *Server) Password() string { return s.o.Password }

// KnownHost is the line of a file of host keys that lets a client trust the server.
func (s *Server) KnownHost() string {
	defer s.lock()()
	return knownhosts.Line([]string{s.Address()}, s.host.PublicKey()) + "\n"
}

// HostKey is the server's.
func (s *Server) HostKey() ssh.PublicKey { defer s.lock()(); return s.host.PublicKey() }

// NewHostKey gives the server another host key, as if another device had its address.
func (s *Server) NewHostKey() error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return err
	}
	defer s.lock()()
	s.host = signer
	return nil
}

// Sessions is how many there are.
func (s *Server) Sessions() int { defer s.lock()(); return len(s.conns) }

// Close ends the server and everything that runs in it.
func (s *Server) Close() {
	s.listener.Close()
	func() {
		defer s.lock()()
		s.closed = true
		for c := range s.conns {
			c.dead = true
			c.nc.Close()
		}
	}()
	s.gate.end()
	s.routines.Wait()
}

func (s *Server) accept() {
	for {
		nc, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.routines.Go(func() { s.serve(&gated{Conn: nc, gate: &s.gate}) })
	}
}

func (s *Server) ssh() *ssh.ServerConfig {
	cfg := &ssh.ServerConfig{}
	password := func(user, pw string) error {
		if user != s.o.User || pw != s.o.Password {
			return errors.New("wrong user or password")
		}
		return nil
	}
	if s.o.AskPassword {
		cfg.KeyboardInteractiveCallback = func(m ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			got, err := ask("", "", []string{"Password: "}, []bool{false})
			if err == nil && len(got) == 1 {
				err = password(m.User(), got[0])
			}
			return nil, err
		}
	} else {
		cfg.PasswordCallback = func(m ssh.ConnMetadata, pw []byte) (*ssh.Permissions, error) {
			return nil, password(m.User(), string(pw))
		}
	}
	cfg.PublicKeyCallback = func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		for _, a := range s.o.Authorized {
			if m.User() == s.o.User && bytes.Equal(a.Marshal(), key.Marshal()) {
				return nil, nil
			}
		}
		return nil, errors.New("not an authorized key")
	}
	defer s.lock()()
	cfg.AddHostKey(s.host)
	return cfg
}

// serve is one connection; it speaks one session.
func (s *Server) serve(nc net.Conn) {
	defer nc.Close()
	c := &conn{s: s, nc: nc}
	if !s.enter(c) {
		return
	}
	defer s.leave(c)
	sc, chans, reqs, err := ssh.NewServerConn(nc, s.ssh())
	if err != nil {
		return
	}
	defer sc.Wait()
	defer sc.Close()
	c.user = sc.User()
	s.routines.Go(func() { ssh.DiscardRequests(reqs) })
	for nch := range chans {
		if nch.ChannelType() != "session" || c.ch != nil {
			nch.Reject(ssh.UnknownChannelType, "one session only")
			continue
		}
		ch, reqs, err := nch.Accept()
		if err != nil {
			return
		}
		c.ch = ch
		s.routines.Go(func() {
			for r := range reqs {
				var x struct{ Name string }
				ok := r.Type == "subsystem" && ssh.Unmarshal(r.Payload, &x) == nil && x.Name == "netconf" && !c.begun
				r.Reply(ok, nil)
				if ok {
					c.begun = true
					s.routines.Go(func() {
						defer nc.Close()
						c.session()
					})
				}
			}
		})
	}
}

func (s *Server) enter(c *conn) bool {
	defer s.lock()()
	if s.closed {
		return false
	}
	s.lastID++
	c.id = s.lastID
	s.conns[c] = true
	return true
}

func (s *Server) leave(c *conn) {
	defer s.lock()()
	delete(s.conns, c)
	if !c.dead {
		c.dead = true
		s.left(c.id)
	}
}
