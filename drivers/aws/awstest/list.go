package awstest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
)

// listing is how objects of one sort are described: by ids, filters and pages.
type listing[T any] struct {
	param              string // that gives ids; "" if there is none
	prefix             string // of ids
	malformed, missing string // codes for an id that cannot be, and one that is not there
	what               string // as messages call it
	id                 func(T) string
	filters            map[string]func(T) []string
	tags               func(T) map[string]string
	max                int // of MaxResults; 0 is EC2's 1000
}

// The bounds of MaxResults.
const (
	leastResults = 5
	mostResults  = 1000
	maxValues    = 200 // of one filter
)

// page is the token's inside: what is asked, and the id that was last.
type page struct {
	Asked string
	Last  string
	Page  int
}

// describe picks from all what a call asks for, a page at a time, by id. next is the
// token for the rest, or "".
func describe[T any](c *call, l listing[T], all []T) (out []T, next string, err error) {
	var ids []string
	if l.param != "" {
		ids = c.p.texts(l.param)
	}
	filters := c.filters()
	most, paginated := c.p.number("MaxResults")
	token := c.p.str("NextToken")
	if err := c.p.done(); err != nil {
		return nil, "", err
	}
	limit := cmp.Or(l.max, mostResults)
	switch {
	case paginated && len(ids) > 0:
		return nil, "", refuse("InvalidParameterCombination", "The parameter %s cannot be used with the parameter MaxResults", l.param)
	case paginated && (most < leastResults || most > limit):
		return nil, "", refuse("InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value between %d and %d.", most, leastResults, limit)
	}
	if all, err = byID(l, ids, all); err != nil {
		return nil, "", err
	}
	for _, f := range filters {
		if all, err = l.filter(f, all); err != nil {
			return nil, "", err
		}
	}
	at := page{Asked: c.asked(ids, filters), Page: 1}
	if token != "" {
		was, err := c.w.open(token)
		if err != nil || was.Asked != at.Asked {
			return nil, "", refuse("InvalidPaginationToken", "The specified pagination token is not valid or is expired.")
		}
		all = slices.DeleteFunc(slices.Clone(all), func(o T) bool { return l.id(o) <= was.Last })
		at.Page, at.Last = was.Page+1, was.Last
	}
	if !paginated && token == "" {
		return all, "", nil
	}
	if !paginated {
		most = limit
	}
	if c.w.faults.sparse {
		if most = most / 2; at.Page == 2 {
			most = 0
		}
	}
	if len(all) <= most {
		return all, "", nil
	}
	all = all[:most]
	if most > 0 {
		at.Last = l.id(all[most-1])
	}
	return all, c.w.seal(at), nil
}

// byID keeps the objects that are named; all of them must be there.
func byID[T any](l listing[T], ids []string, all []T) ([]T, error) {
	if len(ids) == 0 {
		return all, nil
	}
	var out []T
	for _, id := range ids {
		if !wellFormed(l.prefix, id) {
			return nil, refuse(l.malformed, "Invalid id: \"%s\" (expecting \"%s-...\")", id, l.prefix)
		}
		i := slices.IndexFunc(all, func(o T) bool { return l.id(o) == id })
		if i < 0 {
			return nil, refuse(l.missing, "The %s '%s' does not exist", l.what, id)
		}
		if !slices.ContainsFunc(out, func(o T) bool { return l.id(o) == id }) {
			out = append(out, all[i])
		}
	}
	return out, nil
}

// filter is a name and the values of which one must match.
type filter struct {
	Name   string
	Values []string
}

func (c *call) filters() []filter {
	var out []filter
	for _, p := range c.p.list("Filter") {
		f := filter{Name: p.need("Name"), Values: p.texts("Value")}
		switch {
		case len(f.Values) == 0:
			p.fail("InvalidParameterValue", "The filter '%s' has no values", f.Name)
		case len(f.Values) > maxValues:
			p.fail("FilterLimitExceeded", "The maximum number of filter values specified on a single call is %d", maxValues)
		case slices.ContainsFunc(out, func(o filter) bool { return o.Name == f.Name }):
			p.fail("InvalidParameterValue", "The filter '%s' is given twice", f.Name)
		}
		out = append(out, f)
	}
	return out
}

// filter keeps what has one of the values. A filter that is not known is refused, as
// EC2 does: the answer would be of more than was asked for.
func (l listing[T]) filter(f filter, all []T) ([]T, error) {
	have := l.filters[f.Name]
	key, isTag := strings.CutPrefix(f.Name, "tag:")
	switch {
	case have != nil:
	case isTag && l.tags != nil:
		have = func(o T) []string {
			if v, ok := l.tags(o)[key]; ok {
				return []string{v}
			}
			return nil
		}
	case f.Name == "tag-key" && l.tags != nil:
		have = func(o T) (keys []string) {
			for k := range l.tags(o) {
				keys = append(keys, k)
			}
			return keys
		}
	default:
		return nil, refuse("InvalidParameterValue", "The filter '%s' is invalid", f.Name)
	}
	var out []T
	for _, o := range all {
		if slices.ContainsFunc(have(o), func(v string) bool {
			return slices.ContainsFunc(f.Values, func(pattern string) bool { return like(pattern, v) })
		}) {
			out = append(out, o)
		}
	}
	return out, nil
}

// like matches a filter's value: * is any text, ? is one character, a backslash takes
// either for itself. Case counts.
func like(pattern, s string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '*':
			for i := 0; i <= len(s); i++ {
				if like(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		case '?':
			if s == "" {
				return false
			}
		default:
			if pattern[0] == '\\' && len(pattern) > 1 {
				pattern = pattern[1:]
			}
			if s == "" || s[0] != pattern[0] {
				return false
			}
		}
		pattern, s = pattern[1:], s[1:]
	}
	return s == ""
}

// asked tells one question from another: a token is good for its own alone.
func (c *call) asked(ids []string, filters []filter) string {
	b, _ := json.Marshal([]any{c.seen.Service, c.seen.Action, c.account, c.region, ids, filters})
	return c.w.hash(string(b))[:32]
}

// seal makes a token that nobody else can make; open takes it back.
func (w *World) seal(p page) string {
	b, _ := json.Marshal(p)
	return base64.RawURLEncoding.EncodeToString(append(w.sign(b), b...))
}

func (w *World) open(token string) (p page, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return p, err
	}
	const n = 32 // of an HMAC of SHA-256
	if len(b) < n || string(w.sign(b[n:])) != string(b[:n]) {
		return p, refuse("InvalidPaginationToken", "forged")
	}
	return p, json.Unmarshal(b[n:], &p)
}
