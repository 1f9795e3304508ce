package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// owner says where a decoded object belongs.
type owner struct {
	family ruleset.Family
	table  string
	chain  string
}

// decodeTable decodes NFT_MSG_NEWTABLE.
func decodeTable(payload []byte) (ruleset.Table, error) {
	family, _, in, err := genmsg(payload)
	t := ruleset.Table{Family: ruleset.Family(family)}
	if err != nil {
		return t, err
	}
	for in.next() {
		switch in.typ {
		case unix.NFTA_TABLE_NAME:
			t.Name = in.str()
		case unix.NFTA_TABLE_FLAGS:
			t.Flags = in.u32()
		case nftaTableHandle:
			t.Handle = in.u64()
		case nftaTableUserdata:
			t.UserData = in.val
		case nftaTableOwner:
			t.Owner = in.u32()
		}
	}
	return t, in.err
}

// decodeChain decodes NFT_MSG_NEWCHAIN.
func decodeChain(payload []byte) (owner, ruleset.Chain, error) {
	family, _, in, err := genmsg(payload)
	o, c := owner{family: ruleset.Family(family)}, ruleset.Chain{}
	if err != nil {
		return o, c, err
	}
	for in.next() {
		switch in.typ {
		case unix.NFTA_CHAIN_TABLE:
			o.table = in.str()
		case unix.NFTA_CHAIN_NAME:
			c.Name = in.str()
		case unix.NFTA_CHAIN_HANDLE:
			c.Handle = in.u64()
		case unix.NFTA_CHAIN_TYPE:
			c.Type = in.str()
		case unix.NFTA_CHAIN_POLICY:
			c.Policy = in.u32()
		case nftaChainFlags:
			c.Flags = in.u32()
		case nftaChainUserdata:
			c.UserData = in.val
		case unix.NFTA_CHAIN_HOOK:
			c.Hook = decodeHook(&in)
		}
	}
	return o, c, in.err
}

// decodeHook decodes NFTA_CHAIN_HOOK.
func decodeHook(in *attrs) *ruleset.Hook {
	h := &ruleset.Hook{}
	in.sub(func(a *attrs) {
		switch a.typ {
		case unix.NFTA_HOOK_HOOKNUM:
			h.Num = a.u32()
		case unix.NFTA_HOOK_PRIORITY:
			h.Priority = int32(a.u32())
		case unix.NFTA_HOOK_DEV:
			h.Devices = append(h.Devices, a.str())
		case nftaHookDevs:
			h.Devices = nil // it repeats NFTA_HOOK_DEV
			a.sub(func(d *attrs) { h.Devices = append(h.Devices, d.str()) })
		}
	})
	return h
}

// decodeRule decodes NFT_MSG_NEWRULE.
func decodeRule(payload []byte) (owner, ruleset.Rule, error) {
	family, _, in, err := genmsg(payload)
	o, r := owner{family: ruleset.Family(family)}, ruleset.Rule{}
	if err != nil {
		return o, r, err
	}
	for in.next() {
		switch in.typ {
		case unix.NFTA_RULE_TABLE:
			o.table = in.str()
		case unix.NFTA_RULE_CHAIN:
			o.chain = in.str()
		case unix.NFTA_RULE_HANDLE:
			r.Handle = in.u64()
		case unix.NFTA_RULE_USERDATA:
			r.UserData = in.val
		case unix.NFTA_RULE_EXPRESSIONS:
			r.Exprs = decodeExprs(&in)
		}
	}
	return o, r, in.err
}

// decodeExprs decodes a list of expressions (NFTA_LIST_ELEM each).
func decodeExprs(in *attrs) []ruleset.Expr {
	var out []ruleset.Expr
	in.sub(func(a *attrs) { out = append(out, decodeExpr(a)) })
	return out
}

// decodeExpr decodes one expression (NFTA_EXPR_NAME, NFTA_EXPR_DATA). What is in
// it stays bytes. One without a name is malformed, and not silently nothing.
func decodeExpr(in *attrs) ruleset.Expr {
	var e ruleset.Expr
	in.sub(func(a *attrs) {
		switch a.typ {
		case unix.NFTA_EXPR_NAME:
			e.Name = a.str()
		case unix.NFTA_EXPR_DATA:
			e.Data = a.val
		}
	})
	if e.Name == "" && in.err == nil {
		in.err = fmt.Errorf("%w: expression without NFTA_EXPR_NAME", errMalformed)
	}
	return e
}

// decodeObject decodes NFT_MSG_NEWOBJ.
func decodeObject(payload []byte) (owner, ruleset.Object, error) {
	family, _, in, err := genmsg(payload)
	o, obj := owner{family: ruleset.Family(family)}, ruleset.Object{}
	if err != nil {
		return o, obj, err
	}
	for in.next() {
		switch in.typ {
		case unix.NFTA_OBJ_TABLE:
			o.table = in.str()
		case unix.NFTA_OBJ_NAME:
			obj.Name = in.str()
		case unix.NFTA_OBJ_TYPE:
			obj.Type = in.u32()
		case unix.NFTA_OBJ_DATA:
			obj.Data = in.val
		}
	}
	return o, obj, in.err
}

// decodeFlowtable decodes NFT_MSG_NEWFLOWTABLE as far as its name.
func decodeFlowtable(payload []byte) (owner, string, error) {
	family, _, in, err := genmsg(payload)
	o, name := owner{family: ruleset.Family(family)}, ""
	if err != nil {
		return o, name, err
	}
	for in.next() {
		switch in.typ {
		case nftaFlowtableTable:
			o.table = in.str()
		case nftaFlowtableName:
			name = in.str()
		}
	}
	return o, name, in.err
}
