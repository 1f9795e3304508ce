package awstest

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Bounds on what is decoded: a request of EC2's has neither.
const (
	maxBody  = 1 << 20 // bytes
	maxDepth = 10      // names in a key
)

// field is a part of a request's parameters, which form a tree by the dots in their
// names: IpPermissions.1.IpRanges.2.CidrIp.
type field struct {
	value string
	set   bool
	read  bool
	kids  map[string]*field
}

// decoder reads parameters, remembers the first that is wrong, and knows which were
// never read: AWS refuses what it does not know, and so catches a misspelt name.
type decoder struct {
	root field
	err  error
}

// params is one place in the tree; what is not there reads as not given.
type params struct {
	d    *decoder
	f    *field
	path string
}

// decodeQuery parses a form as EC2's query protocol has it.
func decodeQuery(body string) (params, error) {
	d := &decoder{}
	values, err := url.ParseQuery(body)
	if err != nil {
		return params{}, refuse("MalformedQueryString", "The query string contains a syntax error: %v", err)
	}
	for key, vs := range values {
		if len(vs) != 1 {
			return params{}, refuse("MalformedQueryString", "The parameter %s is given %d times", key, len(vs))
		}
		names := strings.Split(key, ".")
		if len(names) > maxDepth || slices.Contains(names, "") {
			return params{}, refuse("UnknownParameter", "The parameter %s is not recognized", key)
		}
		f := &d.root
		for _, n := range names {
			if f.kids == nil {
				f.kids = map[string]*field{}
			}
			if f.kids[n] == nil {
				f.kids[n] = &field{}
			}
			f = f.kids[n]
		}
		f.value, f.set = vs[0], true
	}
	return params{d: d, f: &d.root}, nil
}

// fail remembers the first error.
func (p params) fail(code, format string, args ...any) {
	if p.d.err == nil {
		p.d.err = refuse(code, format, args...)
	}
}

func (p params) at(name string) params {
	path := name
	if p.path != "" {
		path = p.path + "." + name
	}
	q := params{d: p.d, path: path}
	if p.f != nil {
		q.f = p.f.kids[name]
	}
	return q
}

// has reports whether anything is given under the name.
func (p params) has(name string) bool { return p.at(name).f != nil }

func (p params) text() string {
	if p.f == nil || !p.f.set {
		return ""
	}
	p.f.read = true
	return p.f.value
}

// str reads a text; "" if it is not given.
func (p params) str(name string) string { return p.at(name).text() }

// need reads a text that must be given.
func (p params) need(name string) string {
	q := p.at(name)
	v := q.text()
	if v == "" {
		p.fail("MissingParameter", "The request must contain the parameter %s", q.path)
	}
	return v
}

// number reads a whole number; given is false if there is none.
func (p params) number(name string) (n int, given bool) {
	q := p.at(name)
	if q.f == nil {
		return 0, false
	}
	v := q.text()
	n, err := strconv.Atoi(v)
	if err != nil {
		p.fail("InvalidParameterValue", "Invalid value '%s' for %s. It must be an integer.", v, q.path)
	}
	return n, true
}

// flag reads a truth value; false if it is not given.
func (p params) flag(name string) bool {
	q := p.at(name)
	if q.f == nil {
		return false
	}
	switch v := q.text(); v {
	case "true":
		return true
	case "false":
	default:
		p.fail("InvalidParameterValue", "Invalid value '%s' for %s. It must be true or false.", v, q.path)
	}
	return false
}

// list reads NAME.1, NAME.2 and so on. AWS is said to bear holes in the numbers; no
// SDK makes any, so they are taken for the mistake that they are.
func (p params) list(name string) []params {
	q := p.at(name)
	if q.f == nil {
		return nil
	}
	if len(q.f.kids) == 0 && q.f.value == "" {
		q.f.read = true // an empty list, as some SDKs say it
		return nil
	}
	out := make([]params, 0, len(q.f.kids))
	for i := range len(q.f.kids) {
		item := q.at(strconv.Itoa(i + 1))
		if item.f == nil {
			p.fail("InvalidParameterValue", "The parameter %s has no item %d of %d", q.path, i+1, len(q.f.kids))
			return nil
		}
		out = append(out, item)
	}
	return out
}

// texts reads a list of texts.
func (p params) texts(name string) []string {
	var out []string
	for _, q := range p.list(name) {
		if q.f == nil || !q.f.set {
			p.fail("InvalidParameterValue", "The parameter %s is not a value", q.path)
		}
		out = append(out, q.text())
	}
	return out
}

// done gives the first thing that was wrong, or refuses what nobody has read.
func (p params) done() error {
	if p.d.err != nil {
		return p.d.err
	}
	if name, found := p.d.root.unread(""); found {
		return refuse("UnknownParameter", "The parameter %s is not recognized", name)
	}
	return nil
}

// unread finds the first parameter, by name, that was not read.
func (f *field) unread(path string) (string, bool) {
	if f.set && !f.read {
		return path, true
	}
	names := make([]string, 0, len(f.kids))
	for n := range f.kids {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		under := n
		if path != "" {
			under = path + "." + n
		}
		if found, ok := f.kids[n].unread(under); ok {
			return found, true
		}
	}
	return "", false
}

// flat gives the parameters as they came, for the log.
func (f *field) flat(path string, into map[string]string) {
	if f.set {
		into[path] = f.value
	}
	for n, k := range f.kids {
		if path != "" {
			n = path + "." + n
		}
		k.flat(n, into)
	}
}
