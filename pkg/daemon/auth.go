package daemon

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Identity is somebody who calls.
type Identity struct {
	Name        string
	From        string
	Permissions []Permission
}

// Authenticator tells who calls. An error is nobody that is known.
type Authenticator interface {
	Identify(r *http.Request) (Identity, error)
}

// Peers tells who calls over a Unix socket, by what the kernel says of the process at
// the other end (SO_PEERCRED, unix(7)). Root and the daemon's own user may do
// everything; others, whom the socket's mode has let in, what Group says.
type Peers struct {
	UID   int
	Group []Permission
}

type peerKey struct{}

// ConnContext keeps the peer of a connection with its calls: for http.Server.
func (Peers) ConnContext(ctx context.Context, c net.Conn) context.Context {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if err := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil || cred == nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, cred)
}

// Identify looks at the peer of the call's connection.
func (p Peers) Identify(r *http.Request) (Identity, error) {
	cred, ok := r.Context().Value(peerKey{}).(*unix.Ucred)
	if !ok || cred == nil {
		return Identity{}, errors.New("the kernel does not say who is at the other end of the socket")
	}
	who := Identity{Name: fmt.Sprintf("uid %d", cred.Uid), From: fmt.Sprintf("pid %d", cred.Pid), Permissions: p.Group}
	if u, err := user.LookupId(strconv.Itoa(int(cred.Uid))); err == nil {
		who.Name = u.Username
	}
	if cred.Uid == 0 || int(cred.Uid) == p.UID {
		who.Permissions = Permissions()
	}
	return who, nil
}

// Tokens tells who calls over TCP by a bearer token (RFC 6750). Only digests of tokens
// are held.
type Tokens struct{ list []token }

type token struct {
	digest [sha256.Size]byte
	who    Identity
}

// ReadTokens reads a list of tokens: a line for each, with a name, the SHA-256 of the
// token in hexadecimal, and its permissions separated by commas. Empty lines and
// lines that begin with # are left out.
func ReadTokens(r io.Reader) (Tokens, error) {
	var t Tokens
	scan := bufio.NewScanner(r)
	for n := 1; scan.Scan(); n++ {
		f := strings.Fields(scan.Text())
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) != 3 {
			return t, fmt.Errorf("line %d: want a name, the SHA-256 of a token, and permissions", n)
		}
		digest, err := hex.DecodeString(f[1])
		if err != nil || len(digest) != sha256.Size {
			return t, fmt.Errorf("line %d: the second word is no SHA-256 in hexadecimal: `printf %%s TOKEN | sha256sum` gives it", n)
		}
		perms, err := ParsePermissions(f[2])
		if err != nil {
			return t, fmt.Errorf("line %d: %w", n, err)
		}
		t.list = append(t.list, token{[sha256.Size]byte(digest), Identity{Name: f[0], Permissions: perms}})
	}
	if err := scan.Err(); err != nil {
		return t, err
	}
	if len(t.list) == 0 {
		return t, errors.New("there is no token in the list: nobody could call")
	}
	return t, nil
}

// ParsePermissions reads permissions separated by commas; "all" is all of them.
func ParsePermissions(text string) ([]Permission, error) {
	if text == "all" {
		return Permissions(), nil
	}
	var out []Permission
	for _, w := range strings.Split(text, ",") {
		p := Permission(strings.TrimSpace(w))
		if !slices.Contains(Permissions(), p) {
			return nil, fmt.Errorf("there is no permission %q: there is %v", w, Permissions())
		}
		out = append(out, p)
	}
	return out, nil
}

// Identify compares with every token of the list, so that the time it takes tells
// nothing.
func (t Tokens) Identify(r *http.Request) (Identity, error) {
	word, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || word == "" {
		return Identity{}, errors.New("no bearer token")
	}
	digest := sha256.Sum256([]byte(word))
	found := -1
	for i := range t.list {
		if subtle.ConstantTimeCompare(t.list[i].digest[:], digest[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Identity{}, errors.New("the bearer token is not known")
	}
	who := t.list[found].who
	who.From = r.RemoteAddr
	return who, nil
}
