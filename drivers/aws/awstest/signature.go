package awstest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// signed computes what a key's signature of a request is, by the steps of "Create a
// signed AWS API request" of the IAM user's guide. A client that signs with the keys of
// another account, or for another region than it names, is caught by it.
func (k *accessKey) signed(req *http.Request, body []byte, date, region, service, headers string) string {
	scope := date[:8] + "/" + region + "/" + service + "/aws4_request"
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n", req.Method, escapePath(req.URL.EscapedPath()), strings.ReplaceAll(req.URL.Query().Encode(), "+", "%20"))
	for _, h := range strings.Split(headers, ";") {
		fmt.Fprintf(&b, "%s:%s\n", h, headerValue(req, h))
	}
	fmt.Fprintf(&b, "\n%s\n%x", headers, sha256.Sum256(body))
	toSign := fmt.Sprintf("AWS4-HMAC-SHA256\n%s\n%s\n%x", date, scope, sha256.Sum256([]byte(b.String())))
	key := []byte("AWS4" + k.secret)
	for _, part := range []string{date[:8], region, service, "aws4_request"} {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, toSign))
}

func mac(key []byte, s string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(s))
	return m.Sum(nil)
}

// headerValue gives a header as it was signed: two are not among the others here.
func headerValue(req *http.Request, name string) string {
	switch name {
	case "host":
		if req.Host != "" {
			return req.Host
		}
		return req.URL.Host
	case "content-length":
		return strconv.FormatInt(req.ContentLength, 10)
	}
	return strings.Join(strings.Fields(strings.Join(req.Header.Values(name), ",")), " ")
}

// escapePath escapes a path that is escaped already: all services but S3 sign it so.
func escapePath(path string) string {
	if path == "" {
		return "/"
	}
	var b strings.Builder
	for _, c := range []byte(path) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.~/", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
