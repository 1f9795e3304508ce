package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"bulkhead/pkg/config"
)

// Port is NETCONF's over SSH (RFC 6242 section 6).
const Port = "830"

// Options say to whom to speak, and as whom.
type Options struct {
	// Address is a host name or address, with or without a port; Port without.
	Address string
	User    string
	// One of these at least: a password, a private key in PEM with the passphrase that it
	// may have, and the socket of an ssh-agent. All that are given are tried, keys first.
	Password   config.Value
	Key        config.Value
	Passphrase config.Value
	Agent      string

	// KnownHosts is the file of host keys that were enrolled (sshd(8)). Point is what the
	// hint of an error tells to enrol.
	KnownHosts string
	Point      string

	Timeout    time.Duration // of Dial as a whole; 0 is 30 s
	RPCTimeout time.Duration // of an rpc whose context has no deadline; 0 is 2 min
	Keepalive  time.Duration // between two; 0 is 30 s; negative is none. Three without an answer end the session
	MaxMessage int           // bytes; 0 is 256 MiB
	MaxDepth   int           // levels of XML; 0 is 256
	// Rest is a pause after the hello, in which some servers lose what they are sent; 0 is 50 ms.
	Rest time.Duration
	// Base10 offers base:1.0 only, for servers whose chunks are broken.
	Base10 bool
	// OnWarning is told of warnings, which do not fail an rpc. It must not use the session.
	OnWarning func(operation string, w *RPCError)
	// Net opens the connection; nil is the network.
	Net func(ctx context.Context, network, address string) (net.Conn, error)

	first time.Duration // for the first answer, before it is taken for lost
}

func (o Options) withDefaults() Options {
	or := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	or(&o.Timeout, 30*time.Second)
	or(&o.RPCTimeout, 2*time.Minute)
	or(&o.Keepalive, 30*time.Second)
	or(&o.Rest, settle)
	or(&o.first, 5*time.Second)
	if o.MaxMessage == 0 {
		o.MaxMessage = 256 << 20
	}
	if o.MaxDepth == 0 {
		o.MaxDepth = 256
	}
	if o.Net == nil {
		o.Net = new(net.Dialer).DialContext
	}
	return o
}

func (o Options) address() string { return Target(o.Address) }

// Target is an address with its port; a bare IPv6 address has no port.
func Target(address string) string {
	if host, port, err := net.SplitHostPort(address); err == nil && host != "" && port != "" {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), Port)
}

// Dial opens a session. What it returns has answered an rpc.
func Dial(ctx context.Context, o Options) (*Session, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	s, err := dial(ctx, o)
	if err != nil {
		return nil, err
	}
	if err = s.greet(ctx, o.first); err == nil {
		s.keepAlive(o.Keepalive)
		return s, nil
	}
	s.Close()
	if !errors.Is(err, ErrLost) || ctx.Err() != nil {
		return nil, s.silent()
	}
	// The rpc was lost with the hello, on a busy server: more time for it.
	o.Rest *= 10
	if s, err = dial(ctx, o); err != nil {
		return nil, err
	}
	if err = s.greet(ctx, o.Timeout); err != nil {
		s.Close()
		return nil, s.silent()
	}
	s.keepAlive(o.Keepalive)
	return s, nil
}

// silent is the error of a session that never answered. It is not ErrLost: nothing was
// asked that could have been done.
func (s *Session) silent() error {
	return fail(ErrUnreachable, s.Err(), "%q accepts a session and does not answer on it: %v", s.address, s.Err())
}

// greet asks for nothing, to see that the server has begun to read rpcs. A refusal is an
// answer too.
func (s *Session) greet(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_, err := s.GetConfig(ctx, Running, []byte{})
	if len(Tags(err)) > 0 || errors.Is(err, ErrProtocol) {
		return nil
	}
	return err
}

// dial connects, logs in and says hello.
func dial(ctx context.Context, o Options) (*Session, error) {
	client, conn, err := login(ctx, o)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var running sync.WaitGroup
	shut := func() { conn.Close() }
	ch, err := subsystem(client, &running)
	if err != nil {
		shut()
		client.Wait()
		running.Wait()
		if ctx.Err() != nil {
			return nil, fail(ErrUnreachable, context.Cause(ctx), "%q does not answer after the login: %v", o.address(), context.Cause(ctx))
		}
		return nil, fail(ErrProtocol, err, "%q lets the user in and does not speak NETCONF: %v; is it the right port, and is NETCONF on?", o.address(), err)
	}
	s, err := open(ctx, ch, o, shut)
	if err != nil {
		client.Wait()
		running.Wait()
		return nil, err
	}
	s.running.Go(func() { client.Wait(); running.Wait() })
	s.client = client
	return s, nil
}

// subsystem opens the channel that NETCONF is spoken on (RFC 6242 section 3).
func subsystem(client *ssh.Client, running *sync.WaitGroup) (ssh.Channel, error) {
	ch, reqs, err := client.OpenChannel("session", nil)
	if err != nil {
		return nil, err
	}
	// Both are to be drained: a full window would stop the session.
	running.Go(func() { ssh.DiscardRequests(reqs) })
	running.Go(func() { io.Copy(io.Discard, ch.Stderr()) })
	ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"netconf"}))
	if err == nil && !ok {
		err = errors.New("it has no subsystem \"netconf\"")
	}
	return ch, err
}

// keepAlive notices a peer that is gone without a word.
func (s *Session) keepAlive(every time.Duration) {
	if every < 0 {
		return
	}
	s.running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-s.wire.done:
				return
			}
			late := time.AfterFunc(3*every, func() {
				s.wire.end(fmt.Errorf("it has answered no keepalive for %v", 3*every))
			})
			_, _, err := s.client.SendRequest("keepalive@openssh.com", true, nil)
			late.Stop()
			if err != nil {
				return // the reader says why
			}
		}
	})
}

// login connects and authenticates. Whoever gets the connection closes it.
func login(ctx context.Context, o Options) (*ssh.Client, net.Conn, error) {
	addr := o.address()
	known, err := openKnown(o.KnownHosts)
	if err != nil {
		return nil, nil, err
	}
	methods, release, err := o.methods(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	// Only kinds of keys that are enrolled are asked for: of another kind the server has a
	// key too, and it would look like a changed one.
	cfg := &ssh.ClientConfig{User: o.User, Auth: methods, HostKeyAlgorithms: known.algorithms(addr)}
	var refused error
	trusted := false
	cfg.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error {
		refused = known.check(addr, key, o.Point)
		trusted = refused == nil
		return refused
	}
	client, conn, err := handshake(ctx, o, cfg)
	switch {
	case err == nil:
		return client, conn, nil
	case refused != nil:
		return nil, nil, refused
	case ctx.Err() != nil:
		return nil, nil, fail(ErrUnreachable, context.Cause(ctx), "%q does not answer in time: %v", addr, context.Cause(ctx))
	case trusted && deniesLogin(err):
		return nil, nil, fail(ErrAuthentication, err, "%q refuses the login of %q: %v", addr, o.User, err)
	case strings.Contains(err.Error(), "no common algorithm for host key") && len(known.fingerprints(addr)) > 0:
		return nil, nil, &HostKeyError{Address: addr, Point: o.Point, File: o.KnownHosts, Known: known.fingerprints(addr)}
	}
	return nil, nil, fail(ErrUnreachable, err, "%q: %v", addr, err)
}

// deniesLogin tells a login that was refused from a connection that broke. The library
// has no type for it; 2 and 14 are what sshd says to too many tries (RFC 4253 section 11.1).
func deniesLogin(err error) bool {
	text := err.Error()
	return strings.Contains(text, "unable to authenticate") || strings.Contains(text, "disconnect, reason 2:") || strings.Contains(text, "disconnect, reason 14:")
}

func handshake(ctx context.Context, o Options, cfg *ssh.ClientConfig) (*ssh.Client, net.Conn, error) {
	addr := o.address()
	conn, err := o.Net(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	c, chans, reqs, err := ssh.NewClientConn(conn, addr, cfg)
	if !stop() && err == nil {
		c.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return ssh.NewClient(c, chans, reqs), conn, nil
}

// methods are the ways to log in. release ends what they need.
func (o Options) methods(ctx context.Context) (methods []ssh.AuthMethod, release func(), err error) {
	release = func() {}
	var signers []ssh.Signer
	if pem := o.Key.Reveal(); pem != "" {
		signer, err := parseKey(pem, o.Passphrase)
		if err != nil {
			return nil, nil, fail(ErrAuthentication, err, "the private key for %q: %v", o.address(), err)
		}
		signers = append(signers, signer)
	}
	if o.Agent != "" {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", o.Agent)
		if err != nil {
			return nil, nil, fail(ErrAuthentication, err, "the ssh-agent at %q: %v", o.Agent, err)
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		release = func() { stop(); conn.Close() }
		held, err := agent.NewClient(conn).Signers()
		if err != nil {
			release()
			return nil, nil, fail(ErrAuthentication, err, "the ssh-agent at %q: %v", o.Agent, err)
		}
		signers = append(signers, held...)
	}
	if len(signers) > 0 {
		methods = append(methods, ssh.PublicKeys(signers...))
	}
	if pw := o.Password.Reveal(); pw != "" {
		methods = append(methods, ssh.Password(pw), ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
			// Many switches ask for the password that way. What is shown, or more than one
			// question, is something else.
			switch {
			case len(questions) == 0:
				return nil, nil
			case len(questions) == 1 && !echos[0]:
				return []string{pw}, nil
			}
			return nil, errors.New("the device asks for more than a password")
		}))
	}
	if len(methods) == 0 {
		release()
		return nil, nil, fail(ErrAuthentication, nil, "no way to log in to %q: there is no password, no key, and no agent that holds one", o.address())
	}
	return methods, release, nil
}

func parseKey(pem string, passphrase config.Value) (ssh.Signer, error) {
	if p := passphrase.Reveal(); p != "" {
		return ssh.ParsePrivateKeyWithPassphrase([]byte(pem), []byte(p))
	}
	signer, err := ssh.ParsePrivateKey([]byte(pem))
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		return nil, errors.New("it is encrypted, and no passphrase is given")
	}
	return signer, err
}
