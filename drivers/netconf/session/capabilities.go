package session

import (
	"net/url"
	"slices"
	"strings"
)

const capability = "urn:ietf:params:netconf:capability:"

// Capabilities is what a server said in its hello that it can do (RFC 6241 section 8).
type Capabilities struct {
	uris []string
}

// Module is a YANG module that a server's hello names (RFC 6020 section 5.6.4).
type Module struct {
	Name      string
	Namespace string
	Revision  string // "" if it said none
	Features  []string
}

func newCapabilities(uris []string) Capabilities {
	var c Capabilities
	for _, u := range uris {
		c.uris = append(c.uris, strings.TrimSpace(u))
	}
	return c
}

// All returns the capabilities as the server wrote them, in its order.
func (c Capabilities) All() []string { return slices.Clone(c.uris) }

// Has reports whether the server has a capability, whatever parameters it gives with it.
func (c Capabilities) Has(uri string) bool {
	for _, u := range c.uris {
		if base, _, _ := strings.Cut(u, "?"); base == uri {
			return true
		}
	}
	return false
}

func (c Capabilities) has(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return c.Has(capability + n) })
}

// Candidate says that there is a candidate datastore, and commit.
func (c Capabilities) Candidate() bool { return c.has("candidate:1.0") }

// WritableRunning says that running can be written without a commit.
func (c Capabilities) WritableRunning() bool { return c.has("writable-running:1.0") }

// ConfirmedCommit says that a commit can go back by itself. persist says that another
// session can confirm or cancel it (version 1.1): without it the change goes back when
// the session ends.
func (c Capabilities) ConfirmedCommit() (ok, persist bool) {
	persist = c.has("confirmed-commit:1.1")
	return persist || c.has("confirmed-commit:1.0"), persist
}

// Validate says that the server validates on request.
func (c Capabilities) Validate() bool { return c.has("validate:1.0", "validate:1.1") }

// TestOnly says that an edit can be tried without being made (version 1.1 of validate).
func (c Capabilities) TestOnly() bool { return c.has("validate:1.1") }

// RollbackOnError says that an edit can be made as a whole or not at all.
func (c Capabilities) RollbackOnError() bool { return c.has("rollback-on-error:1.0") }

// Startup says that what the device starts with is another datastore than running, and
// is written only on request.
func (c Capabilities) Startup() bool { return c.has("startup:1.0") }

// XPath says that filters may be XPath expressions.
func (c Capabilities) XPath() bool { return c.has("xpath:1.0") }

// Notification says that events can be subscribed to (RFC 5277).
func (c Capabilities) Notification() bool { return c.has("notification:1.0") }

// Interleave says that a session with a subscription still takes other rpcs.
func (c Capabilities) Interleave() bool { return c.has("interleave:1.0") }

// Module finds a YANG module by its name. Servers of NETCONF 1.1 with a YANG library
// (RFC 8525) need not name any in the hello.
func (c Capabilities) Module(name string) (Module, bool) {
	for _, u := range c.uris {
		ns, query, ok := strings.Cut(u, "?")
		if !ok {
			continue
		}
		v, err := url.ParseQuery(strings.ReplaceAll(query, "&amp;", "&"))
		if err != nil || v.Get("module") != name {
			continue
		}
		m := Module{Name: name, Namespace: ns, Revision: v.Get("revision")}
		for _, f := range strings.Split(v.Get("features"), ",") {
			if f != "" {
				m.Features = append(m.Features, f)
			}
		}
		return m, true
	}
	return Module{}, false
}
