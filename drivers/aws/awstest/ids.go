package awstest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
)

// The beginnings of ids, as EC2 gives them before 17 hexadecimal digits.
const (
	idVPC       = "vpc"
	idSubnet    = "subnet"
	idPeering   = "pcx"
	idInstance  = "i"
	idInterface = "eni"
	idGroup     = "sg"
	idRule      = "sgr"
	idList      = "pl"
	idImage     = "ami"
	idTemplate  = "lt"
)

// hash is 64 hexadecimal digits that depend on the seed and the words alone.
func (w *World) hash(words ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %q", w.seed, fmt.Sprint(words...)))
	return hex.EncodeToString(sum[:])
}

// newID gives the next id of a kind: the same one in each world of the same seed whose
// objects are made in the same order.
func (w *World) newID(kind string) string {
	w.made[kind]++
	return kind + "-0" + w.hash(kind, w.made[kind])[:16]
}

// requestID is a UUID in form.
func (w *World) requestID() string {
	w.made["request"]++
	h := w.hash("request", w.made["request"])
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:32]
}

// mac is an address that is administered locally.
func (w *World) mac(id string) string {
	h := w.hash("mac", id)
	return fmt.Sprintf("02:%s:%s:%s:%s:%s", h[:2], h[2:4], h[4:6], h[6:8], h[8:10])
}

// Ids are of 8 digits in old accounts, and of 17 since 2016.
var idForm = regexp.MustCompile(`^[0-9a-f]{8}([0-9a-f]{9})?$`)

// wellFormed reports whether an id of the kind could be this one.
func wellFormed(kind, id string) bool {
	n := len(kind) + 1
	return len(id) > n && id[:n] == kind+"-" && idForm.MatchString(id[n:])
}

// nextAddr is the n-th address of a subnet that an instance may have: EC2 keeps the
// first four and the last.
func nextAddr(p netip.Prefix, taken func(netip.Addr) bool) (netip.Addr, bool) {
	a := p.Masked().Addr()
	for range 4 {
		a = a.Next()
	}
	for ; p.Contains(a); a = a.Next() {
		if p.Contains(a.Next()) && !taken(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}
