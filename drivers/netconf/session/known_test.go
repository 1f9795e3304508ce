package session_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/config"
)

func refused(t *testing.T, o session.Options) *session.HostKeyError {
	t.Helper()
	_, err := session.Dial(context.Background(), o)
	var bad *session.HostKeyError
	if !errors.As(err, &bad) || !errors.Is(err, session.ErrHostKey) || errors.Is(err, session.ErrUnreachable) {
		t.Fatalf("the login: %v", err)
	}
	return bad
}

// A key that nobody has compared is refused, with what is to be compared and the command
// that enrols it; after that the device is known, until it shows another.
func TestHostKeys(t *testing.T) {
	srv := start(t, netconftest.Options{})
	o := options(t, srv)
	o.KnownHosts = filepath.Join(t.TempDir(), "state", "known_hosts")
	want := ssh.FingerprintSHA256(srv.HostKey())
	bad := refused(t, o)
	if bad.Changed() || bad.Fingerprint != want || bad.Type != "ssh-ed25519" {
		t.Errorf("the error is %+v", bad)
	}
	mustContain(t, bad, want, "bulkhead enrol sw1", o.KnownHosts)

	fingerprint, line, err := session.Enrol(ctxOf(t), o)
	if err != nil || fingerprint != want {
		t.Fatalf("enrolled %q, %v", fingerprint, err)
	}
	if changed, err := session.Remember(o.KnownHosts, o.Address, line, false); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if changed, err := session.Remember(o.KnownHosts, o.Address, line, false); err != nil || changed {
		t.Errorf("again: %t, %v", changed, err)
	}
	if info, err := os.Stat(o.KnownHosts); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	dial(t, o).Close()

	if err := srv.NewHostKey(); err != nil {
		t.Fatal(err)
	}
	bad = refused(t, o)
	if !bad.Changed() || bad.Known[0] != want || bad.Fingerprint != ssh.FingerprintSHA256(srv.HostKey()) {
		t.Errorf("the error is %+v", bad)
	}
	mustContain(t, bad, want, bad.Fingerprint, "--replace")
	_, line, err = session.Enrol(ctxOf(t), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Remember(o.KnownHosts, o.Address, line, false); !errors.Is(err, session.ErrHostKey) {
		t.Errorf("another key: %v", err)
	}
	if _, err := session.Remember(o.KnownHosts, o.Address, line, true); err != nil {
		t.Fatal(err)
	}
	dial(t, o)
}

// A device whose enrolled key is of another kind than any that it has is not a device
// that cannot be reached.
func TestHostKeyOfAnotherKind(t *testing.T) {
	srv := start(t, netconftest.Options{})
	o := options(t, srv)
	key := newECDSA(t)
	if err := os.WriteFile(o.KnownHosts, []byte(knownhosts.Line([]string{srv.Address()}, key)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := refused(t, o)
	if !bad.Changed() || bad.Fingerprint != "" {
		t.Errorf("the error is %+v", bad)
	}
	mustContain(t, bad, ssh.FingerprintSHA256(key))
}

// The file may be written by hand, and may say no.
func TestKnownHostsFile(t *testing.T) {
	srv := start(t, netconftest.Options{})
	o := options(t, srv)
	_, line, err := session.Enrol(ctxOf(t), o)
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(line, " ")
	host := knownhosts.Normalize(srv.Address())
	write := func(text string, mode os.FileMode) {
		t.Helper()
		os.Remove(o.KnownHosts)
		if err := os.WriteFile(o.KnownHosts, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(o.KnownHosts, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"hashed":   knownhosts.HashHostname(host) + " " + key + "\n",
		"list":     "# mine\nother," + host + " " + key + " a comment\n",
		"no break": line,
	} {
		write(text, 0o644)
		if _, err := session.Dial(ctxOf(t), o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"others may write": {line + "\n", 0o666},
		"damaged":          {line[:len(line)-9] + "\n", 0o600},
		"revoked":          {line + "\n@revoked * " + key + "\n", 0o600},
		"empty":            {"", 0o600},
		"another port":     {"[127.0.0.1]:1 " + key + "\n", 0o600},
	} {
		write(c.text, c.mode)
		if _, err := session.Dial(ctxOf(t), o); !errors.Is(err, session.ErrHostKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is written is one line of that device, whatever it is given.
	write("", 0o600)
	for _, bad := range []string{"", "x", line + "\nevil " + key, "evil " + key, "@cert-authority " + line} {
		if _, err := session.Remember(o.KnownHosts, o.Address, bad, true); err == nil {
			t.Errorf("%q was written", bad)
		}
	}
	// A name that a pattern still has another key for cannot be made right here.
	other := start(t, netconftest.Options{})
	_, theirs, _ := strings.Cut(other.KnownHost(), " ")
	write("["+"127.0.0.*"+"]:"+port2(srv.Address())+" "+theirs, 0o600)
	if _, err := session.Remember(o.KnownHosts, o.Address, line, true); err == nil {
		t.Error("a pattern that has another key stays")
	}
}

func port2(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

// Every way to log in, and that a login is refused as what it is.
func TestLogins(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("open"))
	if err != nil {
		t.Fatal(err)
	}
	text := func(b *pem.Block) config.Value {
		return config.NewValue(strings.TrimSuffix(string(pem.EncodeToMemory(b)), "\n")) // as a secret's file is read
	}
	srv := start(t, netconftest.Options{Authorized: []ssh.PublicKey{key}})
	asks := start(t, netconftest.Options{AskPassword: true})
	socket := keyring(t, private)
	none := func(o *session.Options) { o.Password = config.Value{} }
	for name, c := range map[string]struct {
		srv  *netconftest.Server
		set  func(*session.Options)
		fail string // what the error says; "" for none
	}{
		"password":           {srv, func(*session.Options) {}, ""},
		"password, asked":    {asks, func(*session.Options) {}, ""},
		"wrong password":     {srv, func(o *session.Options) { o.Password = config.NewValue("hunter2") }, "refuses the login"},
		"wrong, asked":       {asks, func(o *session.Options) { o.Password = config.NewValue("hunter2") }, "refuses the login"},
		"wrong user":         {srv, func(o *session.Options) { o.User = "nobody" }, "refuses the login"},
		"key":                {srv, func(o *session.Options) { none(o); o.Key = text(plain) }, ""},
		"key, encrypted":     {srv, func(o *session.Options) { none(o); o.Key = text(locked); o.Passphrase = config.NewValue("open") }, ""},
		"key, no passphrase": {srv, func(o *session.Options) { none(o); o.Key = text(locked) }, "no passphrase is given"},
		"key, another":       {srv, func(o *session.Options) { none(o); o.Key = text(locked); o.Passphrase = config.NewValue("hunter2") }, "private key"},
		"key that is none":   {srv, func(o *session.Options) { none(o); o.Key = config.NewValue("hunter2") }, "private key"},
		"agent":              {srv, func(o *session.Options) { none(o); o.Agent = socket }, ""},
		"agent, not there":   {srv, func(o *session.Options) { none(o); o.Agent = socket + "x" }, "ssh-agent"},
		"key refused, then":  {asks, func(o *session.Options) { o.Key = text(plain) }, ""},
		"nothing":            {srv, none, "no way to log in"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, c.srv)
			c.set(&o)
			s, err := session.Dial(ctxOf(t), o)
			if err == nil {
				s.Close()
			}
			if c.fail == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, session.ErrAuthentication) {
				t.Fatalf("the login: %v", err)
			}
			mustContain(t, err, c.fail)
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the secret: %v", err)
			}
			for _, verb := range []string{"%v", "%+v", "%#v"} {
				if strings.Contains(fmt.Sprintf(verb, o), "hunter2") {
					t.Errorf("the options tell the secret in %s", verb)
				}
			}
		})
	}
}

// keyring is an ssh-agent that holds one key.
func keyring(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "agent") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); os.RemoveAll(dir) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				agent.ServeAgent(ring, c)
			}()
		}
	}()
	return filepath.Join(dir, "s")
}

// Nobody there, somebody who is no SSH server, and one that hangs up.
func TestUnreachable(t *testing.T) {
	srv := start(t, netconftest.Options{})
	o := options(t, srv)
	for name, answer := range map[string]func(net.Conn){
		"hangs up":     func(c net.Conn) {},
		"another":      func(c net.Conn) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"not a banner": func(c net.Conn) { c.Write([]byte("SSH-2.0-x\r\n\x00\x00\x00\x01")) },
	} {
		o.Net = func(ctx context.Context, network, address string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go io.Copy(io.Discard, theirs) // a pipe has no buffer
			go func() { answer(theirs); theirs.Close() }()
			return ours, nil
		}
		if _, err := session.Dial(ctxOf(t), o); !errors.Is(err, session.ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	o.Net = nil
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Address = l.Addr().String()
	l.Close()
	if _, err := session.Dial(ctxOf(t), o); !errors.Is(err, session.ErrUnreachable) {
		t.Errorf("nobody: %v", err)
	}
	if _, _, err := session.Enrol(ctxOf(t), o); !errors.Is(err, session.ErrUnreachable) {
		t.Errorf("nobody to enrol: %v", err)
	}
}

func newECDSA(t *testing.T) ssh.PublicKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key
}
