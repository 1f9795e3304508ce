package portacl

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Names of lists that are ours say whose they are and what is in them:
//
//	bh-SITE-POINTS-CONTENT-i4
//
// SITE is the site's name. POINTS has five hexadecimal digits for each point that the list
// serves, CONTENT ten of what the list says. So the same content has the same name, a list
// that changes is a new one beside the old, and a restart finds what is ours without memory.
// All are letters, digits and hyphens, at most MaxName bytes, which every model takes.
const (
	MaxName  = 63
	maxSite  = 20
	maxServe = 3 // points of one list
)

// Site is a site's name as it is in names of lists: itself if it is short and of letters,
// digits and hyphens, else the begin of it with a digest, so that no two sites share one.
func Site(site string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, site)
	if clean == site && len(site) <= maxSite && site != "" {
		return site
	}
	return clean[:min(len(clean), maxSite-7)] + "-" + digest("site", site)[:6]
}

func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s\n", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Name is the name of a list of a site, of the points that it serves.
func Name(site string, points []string, l *List, dir Direction) (string, error) {
	if len(points) == 0 || len(points) > maxServe {
		return "", fmt.Errorf("a port has assets of %d points, and a list can serve %d: give the port to fewer points", len(points), maxServe)
	}
	serve := ""
	for _, p := range slices.Sorted(slices.Values(points)) {
		serve += digest("point", p)[:5]
	}
	text := make([]string, 0, len(l.Entries)+1)
	for _, e := range l.Entries {
		text = append(text, e.String())
	}
	suffix := map[Direction]string{In: "i", Out: "o"}[dir]
	if l.Family != Both {
		suffix += fmt.Sprint(int(l.Family))
	}
	return fmt.Sprintf("bh-%s-%s-%s-%s", Site(site), serve, digest(text...)[:10], suffix), nil
}

// Ours reports whether a name is one of a site's lists. The lists of a site whose name begins
// with this one's are somebody else's.
func Ours(site, name string) bool {
	_, ok := parts(site, name)
	return ok
}

// Serves tells which of some points a list of ours serves, by its name.
func Serves(site, name string, points []string) []string {
	serve, ok := parts(site, name)
	if !ok {
		return nil
	}
	var out []string
	for _, p := range points {
		d := digest("point", p)[:5]
		for i := 0; i < len(serve); i += 5 {
			if serve[i:i+5] == d {
				out = append(out, p)
			}
		}
	}
	return out
}

// parts takes a name of ours apart.
func parts(site, name string) (serve string, ok bool) {
	rest, ok := strings.CutPrefix(name, "bh-"+Site(site)+"-")
	if !ok {
		return "", false
	}
	f := strings.Split(rest, "-")
	if len(f) != 3 || len(f[0]) == 0 || len(f[0])%5 != 0 || len(f[0]) > 5*maxServe || !isHex(f[0]) || len(f[1]) != 10 || !isHex(f[1]) {
		return "", false
	}
	switch f[2] {
	case "i", "o", "i4", "o4", "i6", "o6":
		return f[0], true
	}
	return "", false
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}
