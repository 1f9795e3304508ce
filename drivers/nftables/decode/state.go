package decode

// tracked is what connection tracking says of the packet. Before tracking has
// run, ct loads see none of it (see env.entry).
type tracked uint8

const (
	ctDead      tracked = iota // nothing that follows looks at it
	ctSome                     // there is an entry; nothing that follows asks which
	ctNone                     // there is no entry; nothing that follows asks why
	ctNew                      // first packet
	ctForward                  // established, original direction
	ctReply                    // established, reply direction
	ctRelated                  // an expected connection's first packet
	ctInvalid                  // no entry
	ctUntracked                // taken out of tracking
)

// ct state bits (NF_CT_STATE_INVALID_BIT and NF_CT_STATE_BIT(ctinfo)).
const (
	stateInvalid     = 1
	stateEstablished = 2
	stateRelated     = 4
	stateNew         = 8
	stateUntracked   = 64
)

// bits gives the value of `ct state`.
func (t tracked) bits() uint32 {
	switch t {
	case ctNew:
		return stateNew
	case ctForward, ctReply:
		return stateEstablished
	case ctRelated:
		return stateRelated
	case ctUntracked:
		return stateUntracked
	}
	return stateInvalid
}

// entry reports whether the packet has a connection tracking entry.
func (t tracked) entry() bool {
	switch t {
	case ctSome, ctNew, ctForward, ctReply, ctRelated:
		return true
	}
	return false
}

// env is what a packet carries from rule to rule.
type env struct {
	mark, prio, ctmark word
	assigned           word // the ct mark that this program wrote, or noWord
	ct                 tracked
	bare               bool // this program took the packet out of tracking
}

// state is a point of execution: all packets of one family and one direction
// whose service lies in a set, with one environment, about to run one rule.
// Nothing in it says which addresses, source port or interface they have.
type state struct {
	env   env
	pos   int32 // the rule
	stack int32 // where to return to, and which base chain this is
	svc   int32 // the services, interned
	root  int32 // the services of all packets that entered with it
	cause int32 // the undecidable expression that brought it here, or 0
	dom   uint8 // dom4 or dom6
	swap  bool  // the packet goes against the flow's direction
	// turned is set where connection tracking holds the flow the wrong way round: it
	// was picked up in mid-stream from its far end, so that the tracked original
	// direction is the flow's reply direction.
	turned bool
}

// frame is one return address. The bottom frame of a stack names the step.
type frame struct {
	parent, ret, step int32
}

type frames struct {
	list  []frame
	index map[frame]int32
}

func (f *frames) id(x frame) int32 {
	if i, ok := f.index[x]; ok {
		return i
	}
	i := int32(len(f.list))
	f.list = append(f.list, x)
	f.index[x] = i
	return i
}

// base is the stack of a base chain with nothing to return to.
func (f *frames) base(step int32) int32 { return f.id(frame{-1, -1, step}) }

// push adds a return address.
func (f *frames) push(stack, ret int32) int32 {
	return f.id(frame{stack, ret, f.list[stack].step})
}

func (f *frames) depth(stack int32) int {
	n := 0
	for ; f.list[stack].parent >= 0; stack = f.list[stack].parent {
		n++
	}
	return n
}

// jumpStack is NFT_JUMP_STACK_SIZE.
const jumpStack = 16
