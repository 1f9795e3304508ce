package session

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// HostKeyError is a host key that is not trusted: one of a device that has none
// enrolled, or another one than was. It is ErrHostKey.
type HostKeyError struct {
	Address     string
	Type        string   // of the key that was shown: "ssh-ed25519"
	Fingerprint string   // of it: "SHA256:..."; "" if the device has no key of the enrolled kinds
	Known       []string // fingerprints that are enrolled; none if the device is not known
	File        string
	Point       string
	Revoked     bool // the file says that this key must not be trusted
}

// Changed reports whether another key was enrolled.
func (e *HostKeyError) Changed() bool { return len(e.Known) > 0 }

// Is makes it an ErrHostKey.
func (e *HostKeyError) Is(target error) bool { return target == ErrHostKey }

// Error names the key and the command that enrols it.
func (e *HostKeyError) Error() string {
	point := e.Point
	if point == "" {
		point = "POINT"
	}
	shown := fmt.Sprintf("shows the host key %s (%s)", e.Fingerprint, e.Type)
	if e.Fingerprint == "" {
		shown = "has no host key of a kind that is enrolled"
	}
	switch {
	case e.Revoked:
		return fmt.Sprintf("%q %s, which %q revokes; nothing was sent to it", e.Address, shown, e.File)
	case e.Changed():
		return fmt.Sprintf("%q %s, but %q has %s: it is another device, or somebody stands in between; nothing was sent to it. If its key was changed on purpose: bulkhead enrol %s --replace",
			e.Address, shown, e.File, strings.Join(e.Known, " and "), point)
	}
	return fmt.Sprintf("%q %s, which is not in %q; compare it with the device's own word, then: bulkhead enrol %s", e.Address, shown, e.File, point)
}

// known is a file of host keys, read.
type known struct {
	file  string
	check func(addr string, key ssh.PublicKey, point string) error
	keys  func(addr string) []knownhosts.KnownKey
}

// openKnown reads a file of host keys. One that is missing knows nobody; one that cannot
// be read, or that others could write, is an error.
func openKnown(file string) (*known, error) {
	if file == "" {
		return nil, fail(ErrHostKey, nil, "no file of host keys is named")
	}
	db := func(string, net.Addr, ssh.PublicKey) error { return &knownhosts.KeyError{} }
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fail(ErrHostKey, err, "the host keys: %v", err)
	case info.Mode().Perm()&0o022 != 0:
		return nil, fail(ErrHostKey, nil, "the host keys in %q can be written by others (mode %04o); chmod go-w", file, info.Mode().Perm())
	default:
		if db, err = knownhosts.New(file); err != nil {
			return nil, fail(ErrHostKey, err, "the host keys in %q: %v", file, err)
		}
	}
	k := &known{file: file}
	ask := func(addr string, key ssh.PublicKey) error { return db(addr, hostAddr(addr), key) }
	k.keys = func(addr string) []knownhosts.KnownKey {
		// The library tells what it knows by refusing a key that nobody has.
		var refused *knownhosts.KeyError
		if errors.As(ask(addr, nobody()), &refused) {
			return refused.Want
		}
		return nil
	}
	k.check = func(addr string, key ssh.PublicKey, point string) error {
		err := ask(addr, key)
		if err == nil {
			return nil
		}
		e := &HostKeyError{Address: addr, Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key), File: file, Point: point, Known: k.fingerprints(addr)}
		var refused *knownhosts.KeyError
		var revoked *knownhosts.RevokedError
		switch {
		case errors.As(err, &revoked):
			e.Revoked = true
		case errors.As(err, &refused):
		default:
			return fail(ErrHostKey, err, "the host key of %q: %v", addr, err)
		}
		return e
	}
	return k, nil
}

func (k *known) fingerprints(addr string) []string {
	var out []string
	for _, w := range k.keys(addr) {
		out = append(out, ssh.FingerprintSHA256(w.Key))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// algorithms are those of the kinds of keys that are known of a device; all, if none is.
func (k *known) algorithms(addr string) []string {
	var out []string
	for _, a := range hostKeyAlgorithms {
		for _, w := range k.keys(addr) {
			t := w.Key.Type()
			if a == t || t == ssh.KeyAlgoRSA && (a == ssh.KeyAlgoRSASHA256 || a == ssh.KeyAlgoRSASHA512) {
				out = append(out, a)
				break
			}
		}
	}
	if out == nil {
		return hostKeyAlgorithms
	}
	return out
}

// hostKeyAlgorithms are the ones taken, best first. RSA with SHA-1 is none of them.
var hostKeyAlgorithms = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
}

// nobody is a key that no device can have: its private half was never made.
func nobody() ssh.PublicKey {
	key, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	return key
}

// hostAddr is an address by its text, for connections whose own is something else.
type hostAddr string

func (hostAddr) Network() string  { return "tcp" }
func (a hostAddr) String() string { return string(a) }

// errSeen ends a handshake that was only about the key.
var errSeen = errors.New("the host key was seen")

// Enrol asks a device for its host key and returns the fingerprint and the line for a
// file of host keys. It does not log in, and nothing says that what answers is the
// device: somebody has to compare the fingerprint.
//
// bulkhead enrol shows it; Known tells what was enrolled before, and Remember enrols.
func Enrol(ctx context.Context, o Options) (fingerprint, line string, err error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	var seen ssh.PublicKey
	cfg := &ssh.ClientConfig{User: "bulkhead", HostKeyAlgorithms: hostKeyAlgorithms, HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
		seen = key
		return errSeen
	}}
	_, _, err = handshake(ctx, o, cfg)
	if seen == nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", "", fail(ErrUnreachable, err, "%q shows no host key: %v", o.address(), err)
	}
	return ssh.FingerprintSHA256(seen), knownhosts.Line([]string{o.address()}, seen), nil
}

// Known returns the fingerprints that a file of host keys has for a device, in order; none
// if the file is missing.
func Known(file, address string) ([]string, error) {
	k, err := openKnown(file)
	if err != nil {
		return nil, err
	}
	return k.fingerprints(Options{Address: address}.address()), nil
}

// Remember writes a line that Enrol returned into a file of host keys, which it makes if
// it is missing. Unless replace is set it is an error if the file has another key of the
// device; with it, lines of that device alone give way. It reports whether the file
// changed.
func Remember(file, address, line string, replace bool) (changed bool, err error) {
	address = Options{Address: address}.address()
	marker, hosts, key, _, rest, err := ssh.ParseKnownHosts([]byte(line + "\n"))
	if err != nil || marker != "" || len(bytes.TrimSpace(rest)) > 0 || len(hosts) != 1 || hosts[0] != knownhosts.Normalize(address) {
		return false, fail(ErrInvalid, err, "%q is not a line of %q for a file of host keys", line, address)
	}
	k, err := openKnown(file)
	if err != nil {
		return false, err
	}
	refused := k.check(address, key, "")
	if refused == nil {
		return false, nil
	}
	var bad *HostKeyError
	if !errors.As(refused, &bad) || bad.Revoked || bad.Changed() && !replace {
		return false, refused
	}
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("the host keys: %w", err)
	}
	var kept []string
	for _, l := range strings.Split(strings.TrimSuffix(string(old), "\n"), "\n") {
		if l != "" && !strings.HasPrefix(l, hosts[0]+" ") {
			kept = append(kept, l)
		}
	}
	kept = append(kept, line)
	if err := replaceFile(file, []byte(strings.Join(kept, "\n")+"\n")); err != nil {
		return false, fmt.Errorf("the host keys: %w", err)
	}
	// What is left may still name the device: a pattern, a hash, a list.
	k, err = openKnown(file)
	if err != nil {
		return true, err
	}
	for _, w := range k.keys(address) {
		if !bytes.Equal(w.Key.Marshal(), key.Marshal()) {
			return true, fmt.Errorf("%q still has another key of %q, in line %d; take it out", file, address, w.Line)
		}
	}
	return true, nil
}

// replaceFile writes a file so that a crash leaves the old or the new one.
func replaceFile(file string, b []byte) (err error) {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
