// Package config loads a site directory: the YAML and CSV files in which an
// operator says what is on the network, who may talk to whom, and which devices
// enforce it.
//
// Loading is strict. An unknown key, a duplicate name, a reference to nothing, a
// bad prefix: each is an error with file, line and column, and all errors of the
// whole directory are reported at once. What the loader returns has every
// reference resolved and every default applied.
//
// The loader reads files and nothing else: no clock, no environment, no network.
// Secrets are not in the site; a setting says where one is (see Secret).
package config

import (
	"net/netip"
	"slices"
	"time"
	"unicode/utf8"

	"bulkhead/inventory"
	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/policy"
)

// Site is a loaded site directory.
type Site struct {
	Dir      string
	Settings Settings
	Book     *policy.Rulebook
	Assets   []inventory.Asset // declared ones, in order of ID, with facts and positions
	Tests    []TestCase        // in order of file and line
	Files    map[string][]byte // what was read, by name relative to Dir, with slashes
	Hash     string            // SHA-256 over names and contents of Files, in hexadecimal
}

// Source returns a file of the site as it was read, for diag.List.Render.
func (s *Site) Source(file string) []byte { return s.Files[file] }

// Report returns what the site's own files say of assets, for inventory.Merge.
func (s *Site) Report() inventory.Report {
	return inventory.Report{Source: inventory.FileSource, Trust: inventory.TrustFull, Assets: s.Assets}
}

// CheckTypes reports points whose driver, and sources whose type, is none of
// those that the program has, and settings that a source of its type has not. The loader cannot: it knows no driver.
func (s *Site) CheckTypes(drivers, sources []string) *diag.List {
	var l diag.List
	check := func(what, name string, at diag.Pos, known []string) {
		if !slices.Contains(known, name) {
			strict.Report(&l, strict.Named{Pos: at, Len: utf8.RuneCountInString(name)}, strict.Unknown(what, name, known))
		}
	}
	for _, p := range s.Settings.Points {
		check("driver", p.Driver, p.DriverPos, drivers)
	}
	for i := range s.Settings.Sources {
		src := &s.Settings.Sources[i]
		check("type of source", src.Type, src.TypePos, sources)
		if slices.Contains(sources, src.Type) {
			src.checkSettings(&l)
		}
	}
	return &l
}

// Settings is what bulkhead.yaml says, with defaults applied.
type Settings struct {
	Name           string // of the site; names its objects on devices
	Points         []Point
	Sources        []Source
	Failsafe       []Failsafe
	Probes         []Probe
	Essential      Essential
	Precedence     []string // every source, "files" included, the one that wins first
	ConfirmTimeout time.Duration
	ObserveLearn   time.Duration
	Drift          Drift
	Limits         Limits
	Approval       Approval
	History        History
}

// History says what is kept of the past, see store.Retention.
type History struct {
	KeepLast   int           // confirmed applies, whatever their age
	KeepWithin time.Duration // whatever is younger
	KeepMost   int           // but no more applies than so many
}

// Point returns the point with that name, or nil.
func (s *Settings) Point(name string) *Point {
	for i := range s.Points {
		if s.Points[i].Name == name {
			return &s.Points[i]
		}
	}
	return nil
}

// AntiSpoof says what a zone does with a source address that belongs elsewhere.
type AntiSpoof string

// The anti-spoofing settings.
const (
	SpoofEnforce AntiSpoof = "enforce"
	SpoofObserve AntiSpoof = "observe"
	SpoofOff     AntiSpoof = "off"
)

// Inexact says what a point does about verdicts that it cannot express.
type Inexact string

// The ways to be inexact.
const (
	Refuse Inexact = "refuse"
	Narrow Inexact = "narrow"
	Widen  Inexact = "widen"
)

// Drift says what a reconcile does about a device that others changed.
type Drift string

// The drift settings.
const (
	DriftRepair Drift = "repair"
	DriftReport Drift = "report"
)

// Approval says whether a plan needs a second person.
type Approval string

// The approval settings.
const (
	ApprovalNone     Approval = "none"
	ApprovalRequired Approval = "required"
)

// Point is one device, account or host that a driver programs. It has zones (it
// is in the path), or Protects (it is at an end), or both.
type Point struct {
	Name          string
	Driver        string
	DriverPos     diag.Pos
	Zones         []Zone // in order of name
	Protects      string // CEL over one asset; "" if it protects none
	ProtectsPos   diag.Pos
	NetNS         string // name or path; "" is where bulkhead runs
	Mode          policy.Mode
	OnInexact     Inexact
	AcceptInexact []string // kinds of residue, sorted
	AcceptForeign []string // tables of others that may drop besides, sorted
	Budget        Budget
	Settings      map[string]Setting // the driver's own
	Pos           diag.Pos
}

// Budget bounds what a point may be asked to hold. 0 is the driver's default.
type Budget struct {
	Elements int
}

// Zone is the interfaces of a transit point that lead to one part of the
// network, and the prefixes behind them.
type Zone struct {
	Name          string
	Interfaces    []string       // sorted
	Prefixes      []netip.Prefix // sorted
	PrefixesGiven bool           // false: read from the routing table; true and none: it claims nothing
	AntiSpoof     AntiSpoof
	Pos           diag.Pos
}

// Source is something that reports assets.
type Source struct {
	Name       string
	Type       string
	TypePos    diag.Pos
	Trust      inventory.Trust
	StaleAfter time.Duration // how long its last word holds once it fails
	Settings   map[string]Setting
	Pos        diag.Pos
}

// Setting is one value of a driver's or a source's own settings: a text, a list
// of texts, or a secret.
type Setting struct {
	Text   string
	List   []string // not nil if a list was given
	Secret *Secret
	Pos    diag.Pos
	Key    strict.Named   // its name
	Words  []strict.Named // the text, or those of the list, with their places
}

// Failsafe is a flow that must always reach a point.
type Failsafe struct {
	Point   string
	From    []netip.Prefix // never empty, never everybody
	To      []netip.Prefix // nil: the point's own addresses
	Service []string       // as written
	Ranges  []policy.Range
	Pos     diag.Pos
}

// Probe is a check that runs after an apply and must pass before it is
// confirmed. Exactly one of TCP, Ping and HTTP is set.
type Probe struct {
	Name    string
	TCP     netip.AddrPort
	Ping    netip.Addr
	HTTP    *HTTPProbe
	Timeout time.Duration // of one try
	Pos     diag.Pos
}

// HTTPProbe is a GET that must answer with Status. Redirects are followed only
// where Follow says so: else a redirect is the answer.
type HTTPProbe struct {
	URL    string
	Status int
	Follow bool
}

// Essential says which of the traffic that a network cannot do without is left
// to policy after all, and where DHCP servers are.
type Essential struct {
	Off         []string // of EssentialNames, sorted
	DHCPServers []netip.Addr
}

// EssentialNames lists the parts of essential traffic that can be switched off.
func EssentialNames() []string { return []string{"arp", "nd", "mld", "igmp", "dhcp", "icmp-errors"} }

// FirstEnforcement says what happens when a point would enforce for the first time.
type FirstEnforcement string

// The first-enforcement settings.
const (
	FirstAsk    FirstEnforcement = "ask"
	FirstAccept FirstEnforcement = "accept"
)

// Limits are the brakes on an apply's effect.
type Limits struct {
	NewlyDeniedPercent int // of the flows permitted before
	AssetsLostPercent  int // of a source's last report
	FirstEnforcement   FirstEnforcement
}

// Expect is what a test says of its flows.
type Expect string

// The expectations.
const (
	Permit Expect = "permit" // every flow
	Deny   Expect = "deny"   // none
)

// TestCase is one must-permit or must-deny.
type TestCase struct {
	Name     string
	From, To End
	Service  []string // as written
	Ranges   []policy.Range
	Expect   Expect
	Pos      diag.Pos
}

// EndKind is what a test's from or to names.
type EndKind string

// The kinds of ends.
const (
	EndAsset  EndKind = "asset"
	EndGroup  EndKind = "group"
	EndPrefix EndKind = "prefix"
)

// End is one end of a test: an asset, a group, or an address or prefix.
type End struct {
	Kind   EndKind
	Name   string       // as written
	Prefix netip.Prefix // if Kind is EndPrefix
	Pos    diag.Pos
}

// The defaults of Settings, and the least of some.
const (
	DefaultName           = "bulkhead"
	DefaultConfirmTimeout = 120 * time.Second
	DefaultObserveLearn   = 60 * time.Second
	DefaultStaleAfter     = 10 * time.Minute
	DefaultNewlyDenied    = 20
	DefaultAssetsLost     = 30
	DefaultPolicyOrder    = 100
	DefaultKeepLast       = 100
	DefaultKeepWithin     = 90 * 24 * time.Hour
	DefaultKeepMost       = 10_000
	MinKeepLast           = 2 // a rollback goes back to the one before the last
	MinKeepMost           = 10
	DefaultProbeTimeout   = 3 * time.Second
)
