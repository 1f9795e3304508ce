package session

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A file of host keys, whatever is in it, trusts no key by accident; and what is enrolled
// into it is trusted after, with all the lines of others left as they were.
func FuzzKnownHosts(f *testing.F) {
	mine, theirs := testKey(1), testKey(2)
	line := knownhosts.Line([]string{"sw1:830"}, theirs)
	for _, seed := range []string{"", "# a\n\n", line, line + "\n" + line, "@revoked * " + string(ssh.MarshalAuthorizedKey(mine)), "|1|a|b ssh-ed25519 x", "*,!sw2 x y\n", "@cert-authority " + line} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(dir, "known_hosts")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := openKnown(file)
		if err != nil {
			return
		}
		if k.check("sw1:830", mine, "") == nil && !bytes.Contains(text, []byte(strings.Fields(string(ssh.MarshalAuthorizedKey(mine)))[1])) {
			t.Fatalf("%q trusts a key that is not in it", text)
		}
		changed, err := Remember(file, "sw1:830", knownhosts.Line([]string{"sw1:830"}, mine), true)
		if err != nil || !changed {
			return
		}
		k, err = openKnown(file)
		if err != nil {
			t.Fatalf("%q cannot be read any more: %v", text, err)
		}
		if err := k.check("sw1:830", mine, ""); err != nil {
			t.Fatalf("%q: not trusted after it was enrolled: %v", text, err)
		}
		after, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range strings.Split(string(text), "\n") {
			if l != "" && !strings.HasPrefix(l, "[sw1]:830 ") && !strings.Contains("\n"+string(after), "\n"+l+"\n") {
				t.Fatalf("the line %q of %q is gone", l, text)
			}
		}
	})
}

// testKey is a key by its number.
func testKey(n byte) ssh.PublicKey {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	key, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		panic(err)
	}
	return key
}
