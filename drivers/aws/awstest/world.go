package awstest

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// World is what there is behind an endpoint: accounts, regions and what lies in them.
// It is safe for concurrent use. The functions that build one panic on what AWS could
// not hold, as a wrong table of a test would.
type World struct {
	turn sync.Mutex // held by a mutating call with its hooks: see OnMutation
	mu   sync.Mutex

	seed     uint64
	now      func() time.Time
	made     map[string]int // objects made, by kind of id
	accounts map[string]*accountState
	regions  map[string]*regionState
	keys     map[string]*accessKey
	roles    map[string]*role // by ARN
	tokens   map[string]idempotent

	faults  faults
	buckets buckets
	calls   []Call
}

// Option sets up a World.
type Option func(*World)

// Seed makes ids differ from those of a world of another seed.
func Seed(n uint64) Option { return func(w *World) { w.seed = n } }

// Clock replaces time.Now, which inside of testing/synctest is the bubble's already.
func Clock(now func() time.Time) Option { return func(w *World) { w.now = now } }

// New makes an empty world.
func New(opts ...Option) *World {
	w := &World{
		now: time.Now, made: map[string]int{}, accounts: map[string]*accountState{},
		regions: map[string]*regionState{}, keys: map[string]*accessKey{}, roles: map[string]*role{},
		tokens: map[string]idempotent{},
	}
	w.faults.init()
	w.buckets.init()
	for _, o := range opts {
		o(w)
	}
	return w
}

// Clone gives a world that is in the same state, and goes its own way from here: for a
// test that tries many things from one beginning. Neither faults, nor hooks, nor the
// log, nor what the buckets hold is taken over; what is stale is settled.
func (w *World) Clone() *World {
	defer w.lock()()
	c := New(Seed(w.seed), Clock(w.now))
	c.made = maps.Clone(w.made)
	c.keys, c.roles, c.tokens = maps.Clone(w.keys), maps.Clone(w.roles), maps.Clone(w.tokens)
	for id, a := range w.accounts {
		c.accounts[id] = &accountState{disabled: maps.Clone(a.disabled), quotas: maps.Clone(a.quotas)}
	}
	for name, r := range w.regions {
		c.regions[name] = &regionState{name: name, t: r.t.clone(), stale: map[Kind][]staleRead{}}
	}
	c.buckets.off = w.buckets.off
	c.buckets.limits = maps.Clone(w.buckets.limits)
	return c
}

// In gives the region of this world that a region of another one, which it was cloned
// from, stands for.
func (w *World) In(r Region) Region { return Region{w: w, Account: r.Account, Name: r.Name} }

type accountState struct {
	disabled map[string]bool // regions the account has not opted into
	quotas   map[string]Quotas
}

type regionState struct {
	name  string
	t     *tables
	stale map[Kind][]staleRead
}

func (w *World) lock() func() {
	w.mu.Lock()
	return w.mu.Unlock
}

// secret is the key of what the world hands out and takes back: no caller can make one.
func (w *World) sign(b []byte) []byte {
	m := hmac.New(sha256.New, []byte(w.hash("pagination")))
	m.Write(b)
	return m.Sum(nil)
}

// Account is one account of a world.
type Account struct {
	w  *World
	ID string
}

// AddAccount gives an account, of twelve digits as in documentation: 111122223333, and
// makes it if there is none.
func (w *World) AddAccount(id string) Account {
	defer w.lock()()
	if len(id) != 12 {
		panic(fmt.Sprintf("awstest: account %q is not of twelve digits", id))
	}
	if w.accounts[id] == nil {
		w.accounts[id] = &accountState{disabled: map[string]bool{}, quotas: map[string]Quotas{}}
	}
	return Account{w: w, ID: id}
}

// Region is what one account has in one region.
type Region struct {
	w             *World
	Account, Name string
}

// Region gives the account's part of a region, and makes the region if there is none.
func (a Account) Region(name string) Region {
	defer a.w.lock()()
	if a.w.regions[name] == nil {
		a.w.regions[name] = &regionState{name: name, t: newTables(), stale: map[Kind][]staleRead{}}
	}
	return Region{w: a.w, Account: a.ID, Name: name}
}

// Disable takes an account out of a region that it must opt into.
func (a Account) Disable(region string) {
	a.Region(region)
	defer a.w.lock()()
	a.w.accounts[a.ID].disabled[region] = true
}

// Quotas are the limits of an account in a region.
type Quotas struct {
	GroupsPerRegion    int
	GroupsPerInterface int // at most 16
	RulesPerGroup      int // for each direction and family; times GroupsPerInterface at most 1000
	PrefixLists        int
}

// DefaultQuotas are those of a new account.
var DefaultQuotas = Quotas{GroupsPerRegion: 2500, GroupsPerInterface: 5, RulesPerGroup: 60, PrefixLists: 100}

// SetQuotas sets the limits of the account in the region. It panics on what AWS grants
// nobody: more than 16 groups per interface, or more than 1000 rules in all of them.
func (r Region) SetQuotas(q Quotas) {
	defer r.w.lock()()
	if q.GroupsPerInterface > 16 || q.GroupsPerInterface*q.RulesPerGroup > 1000 {
		panic(fmt.Sprintf("awstest: nobody is granted %d groups per interface of %d rules each", q.GroupsPerInterface, q.RulesPerGroup))
	}
	r.w.accounts[r.Account].quotas[r.Name] = q
}

func (w *World) quotas(account, region string) Quotas {
	if a := w.accounts[account]; a != nil {
		if q, ok := a.quotas[region]; ok {
			return q
		}
	}
	return DefaultQuotas
}

// change writes to a region behind the back of everybody: no call, no fault, no log.
func (r Region) change(f func(t *tables)) {
	defer r.w.lock()()
	in := r.w.regions[r.Name]
	t := in.t.clone()
	f(t)
	in.t = t
}

func (r Region) look() *tables {
	defer r.w.lock()()
	return r.w.regions[r.Name].t
}

// Groups gives the account's security groups as they are, by id.
func (r Region) Groups() []Group {
	return owned(r.look().groups, func(g *Group) bool { return g.Account == r.Account })
}

// Interfaces gives the account's interfaces as they are, by id.
func (r Region) Interfaces() []Interface {
	return owned(r.look().interfaces, func(i *Interface) bool { return i.Account == r.Account })
}

// PrefixLists gives the account's own prefix lists as they are, by id.
func (r Region) PrefixLists() []PrefixList {
	return owned(r.look().prefixLists, func(l *PrefixList) bool { return l.Account == r.Account })
}

// Functions gives the account's functions as they are, by name.
func (r Region) Functions() []Function {
	return owned(r.look().functions, func(f *Function) bool { return f.Account == r.Account })
}

func owned[T any](m map[string]*T, mine func(*T) bool) []T {
	var out []T
	for _, o := range sorted(m) {
		if mine(o) {
			out = append(out, *o)
		}
	}
	return out
}

// Group gives one security group as it is; ok is false if there is none.
func (r Region) Group(id string) (g Group, ok bool) { return get(r.look().groups, id) }

// Interface gives one interface as it is; ok is false if there is none.
func (r Region) Interface(id string) (i Interface, ok bool) { return get(r.look().interfaces, id) }

// Instance gives one instance as it is; ok is false if there is none.
func (r Region) Instance(id string) (i Instance, ok bool) { return get(r.look().instances, id) }

func get[T any](m map[string]*T, id string) (o T, ok bool) {
	if p := m[id]; p != nil {
		return *p, true
	}
	return o, false
}

// InterfacesOf gives the interfaces of an instance in the order of their devices.
func (r Region) InterfacesOf(instance string) []Interface {
	out := owned(r.look().interfaces, func(i *Interface) bool { return i.Instance == instance })
	slices.SortStableFunc(out, func(a, b Interface) int { return a.Device - b.Device })
	return out
}

// must finds an object that a builder names.
func must[T any](m map[string]*T, id string) *T {
	o := m[id]
	if o == nil {
		panic(fmt.Sprintf("awstest: there is no %q", id))
	}
	return o
}

func named(name string, tags map[string]string) map[string]string {
	out := maps.Clone(tags)
	if out == nil {
		out = map[string]string{}
	}
	if name != "" {
		out["Name"] = name
	}
	return out
}
