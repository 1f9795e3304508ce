package diag

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Safe returns s with everything that could steer a terminal written as an
// escape: control characters, invalid UTF-8, and the format characters that
// reorder or hide text (bidirectional overrides, zero-width characters, the
// byte order mark). Strings that came from a device, a tag or a file go through
// it wherever they are shown outside %q. Plain text comes back unchanged.
func Safe(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 8)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b.WriteString(`\x`)
			const hex = "0123456789abcdef"
			b.WriteByte(hex[s[i]>>4])
			b.WriteByte(hex[s[i]&15])
		} else if shown(r) {
			b.WriteString(s[i : i+n])
		} else {
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		i += n
	}
	return b.String()
}

func isPlain(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !shown(r) {
			return false
		}
	}
	return true
}

// shown reports whether a terminal prints r as one visible thing or a space.
// unicode.IsPrint leaves out every control and format character and every
// space but U+0020.
func shown(r rune) bool { return unicode.IsPrint(r) }
