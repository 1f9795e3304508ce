package awstest

// faults are what goes wrong when a test says so.
type faults struct {
	fail      map[string][]string // codes to come, by action; "" is any mutating call
	failAt    map[int]string      // code by the number of the mutating call
	mutations int                 // mutating calls so far
	lose      map[string]int      // calls to come that are done and not answered
	drop      map[string]int      // calls to come that are neither
	vanish    map[string]bool     // interfaces that go when somebody swaps their groups

	before, after func(Call)
	script        func(Call) Outcome

	stale, flap map[Kind]int
	hideNew     int            // calls for which a new group is unknown to calls that name it
	hidden      map[string]int // of that, what is left, by group
	detachLag   int            // deletions for which a group stays in use that was given up
	detaching   map[string]int // of that, what is left, by group
	sparse      bool
	listLag     int
	functionLag int
	linger      bool // interfaces that functions have left stay
}

func (f *faults) init() {
	*f = faults{
		fail: map[string][]string{}, failAt: map[int]string{}, lose: map[string]int{}, drop: map[string]int{},
		vanish: map[string]bool{}, stale: map[Kind]int{}, flap: map[Kind]int{}, hidden: map[string]int{}, detaching: map[string]int{},
		listLag: 1, functionLag: 1,
	}
}

// FailNext lets the next n calls of an action fail with a code, before they do
// anything. Action "" is any mutating call.
func (w *World) FailNext(action, code string, n int) {
	defer w.lock()()
	for range n {
		w.faults.fail[action] = append(w.faults.fail[action], code)
	}
}

// FailMutation lets the k-th mutating call from now fail with a code; 1 is the next.
func (w *World) FailMutation(k int, code string) {
	defer w.lock()()
	w.faults.failAt[w.faults.mutations+k] = code
}

// LoseAnswers lets the next n calls of an action be done, and their connections be
// closed without an answer: what a client sees of a network that fails in between.
func (w *World) LoseAnswers(action string, n int) {
	defer w.lock()()
	w.faults.lose[action] += n
}

// LoseRequests lets the next n calls of an action be closed with nothing done. A
// client cannot tell it from a lost answer.
func (w *World) LoseRequests(action string, n int) {
	defer w.lock()()
	w.faults.drop[action] += n
}

// VanishOnSwap lets an interface be gone at the moment somebody changes its groups, as
// if its instance were terminated between the plan and the call.
func (w *World) VanishOnSwap(id string) {
	defer w.lock()()
	w.faults.vanish[id] = true
}

// StaleReads lets the n reads of a kind that follow each write of that kind see what
// was before the write. With 0 reads see everything at once.
func (w *World) StaleReads(k Kind, n int) {
	defer w.lock()()
	w.faults.stale[k], w.faults.flap[k] = n, 0
}

// FlappingReads is StaleReads where every other of the n reads sees the write already:
// EC2 promises no order among its readers.
func (w *World) FlappingReads(k Kind, n int) {
	defer w.lock()()
	w.faults.stale[k], w.faults.flap[k] = n, n
}

// HideNewGroups lets the first n calls that name a new group be refused with
// InvalidGroup.NotFound: a group is not known everywhere once CreateSecurityGroup
// has answered.
func (w *World) HideNewGroups(n int) {
	defer w.lock()()
	w.faults.hideNew = n
}

// DetachLag lets the first n deletions of a group that an interface has just given up
// be refused with DependencyViolation: EC2 notices late that nobody carries it.
func (w *World) DetachLag(n int) {
	defer w.lock()()
	w.faults.detachLag = n
}

// SparsePages lets every page of a paginated read hold fewer than were asked for, and
// the second hold nothing: EC2 promises only that NextToken leads to the rest.
func (w *World) SparsePages(on bool) {
	defer w.lock()()
	w.faults.sparse = on
}

// PrefixListLag sets for how many reads of it a prefix list is in progress after a
// write, and before the write has an effect. It is 1 from the start; 0 lets writes be
// complete at once.
func (w *World) PrefixListLag(reads int) {
	defer w.lock()()
	w.faults.listLag = reads
}

// FunctionLag sets for how many reads of a function an update of it is in progress. It
// is 1 from the start.
func (w *World) FunctionLag(reads int) {
	defer w.lock()()
	w.faults.functionLag = reads
}

// OnMutation sets functions that are called before and after each mutating call, of
// any outcome; nil for none. No other mutating call runs in between, so that a test
// sees the world after every single one. They may read the world, change it by its
// builders, and make calls that only read; a mutating call from within would wait for
// itself for ever.
func (w *World) OnMutation(before, after func(Call)) {
	defer w.lock()()
	w.faults.before, w.faults.after = before, after
}

// Outcome is what is to become of a call: nothing special, if it is the zero value.
type Outcome struct {
	Code        string // it is refused with this, with nothing done
	LoseRequest bool   // as of LoseRequests
	LoseAnswer  bool   // as of LoseAnswers
}

// Script sets a function that says for every call what is to become of it, after what
// FailNext and its like say; nil for none. It is for faults drawn at random. It is
// called with the world locked, and must not ask the world anything.
func (w *World) Script(f func(Call) Outcome) {
	defer w.lock()()
	w.faults.script = f
}

func (f *faults) scripted(c Call) Outcome {
	if f.script == nil {
		return Outcome{}
	}
	return f.script(c)
}

// takeFail gives the code that a call is to fail with, or "".
func (f *faults) takeFail(action string, mutating bool) string {
	if mutating {
		if code := f.failAt[f.mutations]; code != "" {
			delete(f.failAt, f.mutations)
			return code
		}
	}
	for _, a := range []string{action, ""} {
		if q := f.fail[a]; len(q) > 0 && (a != "" || mutating) {
			f.fail[a] = q[1:]
			return q[0]
		}
	}
	return ""
}

func take(m map[string]int, action string) bool {
	if m[action] == 0 {
		return false
	}
	m[action]--
	return true
}
