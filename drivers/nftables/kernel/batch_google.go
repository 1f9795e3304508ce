package kernel

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// What google/nftables v0.3.0 encodes faithfully goes through it: tables,
// chains, deletions and flushes. It has no field for the flags and user data of
// tables and chains; those attributes are added to its message. It is not used
//
//   - for rules: an expr.Any cannot carry raw bytes;
//   - for sets: no user data of `typeof` sets, no NFT_SET_EXPR, policy, gc
//     interval or object type, concatenations only of types that it knows by
//     number, and set ids from an unguarded global;
//   - for elements: beyond 64 KiB it loses them without an error, and it encodes
//     no catch-all, counter or object reference;
//   - for sending: no generation in the batch, and one acknowledgement for each
//     message, which overruns the socket while the kernel commits.

// viaGoogle takes the one message that f makes google/nftables encode, adds the
// attributes in extra, and makes it the batch's next.
func (b *Batch) viaGoogle(op batchOp, extra []byte, f func(conn *nftables.Conn)) {
	var got []netlink.Message
	conn, err := nftables.New(nftables.WithTestDial(func(req []netlink.Message) ([]netlink.Message, error) {
		got = append(got, req...)
		return nil, nil
	}))
	if err != nil {
		b.fail(op, err.Error())
		return
	}
	f(conn)
	_ = conn.Flush() // there is no kernel behind it: only what it wanted to send counts
	if len(got) != 3 {
		b.fail(op, fmt.Sprintf("google/nftables encoded %d messages, want 3", len(got)))
		return
	}
	m := got[1] // between the begin and the end of its batch
	if len(m.Data) < nfgenLen {
		b.fail(op, "google/nftables encoded an empty message")
		return
	}
	// No acknowledgements: the socket's queue holds errors only.
	flags := uint16(m.Header.Flags &^ (netlink.Request | netlink.Acknowledge))
	at := b.begin(op, uint16(m.Header.Type)&0xff, flags)
	b.buf = append(b.buf, m.Data[nfgenLen:]...)
	b.buf = append(appendPad(b.buf), extra...)
	closeMessage(b.buf, at)
}

func googleTable(family ruleset.Family, table string) *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamily(family), Name: table}
}

// setAttr32 overwrites the 32-bit attribute typ of the message that begins at at.
func setAttr32(msg []byte, typ uint16, v uint32) {
	in := walk(msg[nlmsgHdrLen+nfgenLen:])
	for in.next() {
		if in.typ == typ && len(in.val) == 4 {
			binary.BigEndian.PutUint32(in.val, v)
		}
	}
}

// AddTable adds a table with NFT_TABLE_F_* flags and user data. Where there is
// one of that name its flags are set and the rest stays. A table with the flags
// owner and persist that loses its owner keeps persist only, and AddTable with
// both adopts it; until then anybody may change it.
func (b *Batch) AddTable(family ruleset.Family, table string, flags uint32, userData []byte) {
	op := batchOp{verb: "add table", family: family, table: table}
	if len(userData) > 256 { // NFT_USERDATA_MAXLEN
		b.fail(op, "the table's user data exceeds 256 bytes")
	}
	var extra []byte
	if len(userData) > 0 {
		extra = appendAttr(nil, nftaTableUserdata, userData)
	}
	at := len(b.buf)
	b.viaGoogle(op, extra, func(c *nftables.Conn) { c.AddTable(googleTable(family, table)) })
	if len(b.buf) > at {
		setAttr32(b.buf[at:], unix.NFTA_TABLE_FLAGS, flags) // google always says 0
	}
}

// DelTable deletes a table with everything in it. It fails with ENOENT where
// there is none: AddTable before it makes sure.
func (b *Batch) DelTable(family ruleset.Family, table string) {
	op := batchOp{verb: "delete table", family: family, table: table}
	b.viaGoogle(op, nil, func(c *nftables.Conn) { c.DelTable(googleTable(family, table)) })
}

// AddChain adds a chain; its rules are added by AddRule. Of an existing base
// chain it sets the policy. Handle is not looked at.
func (b *Batch) AddChain(family ruleset.Family, table string, ch *ruleset.Chain) {
	op := batchOp{verb: "add chain", name: ch.Name, family: family, table: table}
	g := &nftables.Chain{Name: ch.Name, Table: googleTable(family, table)}
	if ch.Hook != nil {
		if len(ch.Hook.Devices) > 1 {
			b.fail(op, "chains on several devices are not supported")
			return
		}
		hook, prio := nftables.ChainHook(ch.Hook.Num), nftables.ChainPriority(ch.Hook.Priority)
		policy := nftables.ChainPolicy(ch.Policy)
		g.Hooknum, g.Priority, g.Policy, g.Type = &hook, &prio, &policy, nftables.ChainType(ch.Type)
		if len(ch.Hook.Devices) == 1 {
			g.Device = ch.Hook.Devices[0]
		}
	}
	var extra []byte
	if f := ch.Flags &^ chainIsBase; f != 0 {
		extra = appendU32(extra, nftaChainFlags, f)
	}
	if len(ch.UserData) > 0 {
		extra = appendAttr(extra, nftaChainUserdata, ch.UserData)
	}
	b.viaGoogle(op, extra, func(c *nftables.Conn) { c.AddChain(g) })
}

// chainIsBase is NFT_CHAIN_BASE, which the kernel shows and does not take.
const chainIsBase = 0x1

// DelChain deletes a chain. The kernel refuses (EBUSY) while rules or elements
// jump to it; its own rules go with it only if FlushChain came before.
func (b *Batch) DelChain(family ruleset.Family, table, chain string) {
	op := batchOp{verb: "delete chain", name: chain, family: family, table: table}
	b.viaGoogle(op, nil, func(c *nftables.Conn) {
		c.DelChain(&nftables.Chain{Name: chain, Table: googleTable(family, table)})
	})
}

// FlushChain removes all rules of a chain.
func (b *Batch) FlushChain(family ruleset.Family, table, chain string) {
	op := batchOp{verb: "flush chain", name: chain, family: family, table: table}
	b.viaGoogle(op, nil, func(c *nftables.Conn) {
		c.FlushChain(&nftables.Chain{Name: chain, Table: googleTable(family, table)})
	})
}

// DelSet deletes a set with its elements. The kernel refuses (EBUSY) while a
// rule looks it up.
func (b *Batch) DelSet(family ruleset.Family, table, set string) {
	op := batchOp{verb: "delete set", name: set, family: family, table: table}
	b.viaGoogle(op, nil, func(c *nftables.Conn) {
		c.DelSet(&nftables.Set{Name: set, Table: googleTable(family, table)})
	})
}

// FlushSet deletes all elements of a set.
func (b *Batch) FlushSet(family ruleset.Family, table, set string) {
	op := batchOp{verb: "flush set", name: set, family: family, table: table}
	b.viaGoogle(op, nil, func(c *nftables.Conn) {
		c.FlushSet(&nftables.Set{Name: set, Table: googleTable(family, table)})
	})
}
