package classify

import (
	"net/netip"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"bulkhead/inventory"
)

// The bounds on an expression. A site's author is trusted not to be malicious,
// but a slip must not stall a controller.
const (
	maxLength    = 16 << 10 // characters
	maxNesting   = 64       // of parentheses and calls
	maxNodes     = 4096
	maxLoops     = 2 // macros within macros
	maxRegex     = 1 << 12
	maxCost      = 100_000 // CEL's cost units, for one asset
	withinID     = "addresses_within_string"
	withinMember = "within"
)

// The variables of an expression.
const (
	varID         = "id"
	varKind       = "kind"
	varLabels     = "labels"
	varAttributes = "attributes"
	varAddresses  = "addresses"
	varMACs       = "macs"
	varSources    = "sources"
)

func variables() []string {
	return []string{varID, varKind, varLabels, varAttributes, varAddresses, varMACs, varSources}
}

func newEnv() (*cel.Env, error) {
	texts := cel.ListType(cel.StringType)
	fields := cel.MapType(cel.StringType, cel.StringType)
	return cel.NewEnv(
		cel.VariableWithDoc(varID, cel.StringType, "the asset's ID"),
		cel.VariableWithDoc(varKind, cel.StringType, "what sort of thing it is"),
		cel.VariableWithDoc(varLabels, fields, "its labels"),
		cel.VariableWithDoc(varAttributes, fields, "its attributes"),
		cel.VariableWithDoc(varAddresses, texts, "its addresses and prefixes"),
		cel.VariableWithDoc(varMACs, texts, "its MAC addresses"),
		cel.VariableWithDoc(varSources, texts, "the sources whose word it stands on"),
		cel.Function(withinMember, cel.MemberOverload(withinID, []*cel.Type{texts, cel.StringType}, cel.BoolType,
			cel.BinaryBinding(within))),
		cel.ParserExpressionSizeLimit(maxLength),
		cel.ParserRecursionLimit(maxNesting),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ASTValidators(
			cel.ValidateComprehensionNestingLimit(maxLoops),
			cel.ValidateRegexLiterals(),
			cel.ValidateRegexProgramSizeLimit(maxRegex),
		),
	)
}

// within is addresses.within(prefix).
func within(lhs, rhs ref.Val) ref.Val {
	text, ok := rhs.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(rhs)
	}
	p, err := inventory.ParsePrefix(string(text))
	if err != nil {
		return types.NewErr("%v", err)
	}
	list, ok := lhs.(*addressList)
	if !ok {
		return types.NewErr("only addresses can be within a prefix")
	}
	for _, a := range list.prefixes {
		if p.Bits() <= a.Bits() && p.Contains(a.Addr()) {
			return types.True
		}
	}
	return types.False
}

// addressList is the list of an asset's addresses as texts, which remembers the
// addresses themselves so that within need not parse them again.
type addressList struct {
	traits.Lister
	prefixes []netip.Prefix
}

func newAddressList(ps []netip.Prefix) *addressList {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = inventory.FormatPrefix(p)
	}
	return &addressList{types.NewStringList(types.DefaultTypeAdapter, texts), ps}
}

// activation gives an expression the values of one asset. Each is made when it
// is first asked for, and kept: many expressions look at the same asset.
type activation struct {
	asset *inventory.Asset
	vals  map[string]ref.Val
}

func newActivation(a *inventory.Asset) *activation {
	return &activation{asset: a, vals: make(map[string]ref.Val, 4)}
}

// ResolveName is cel.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	if v, ok := a.vals[name]; ok {
		return v, true
	}
	v := a.value(name)
	if v == nil {
		return nil, false
	}
	a.vals[name] = v
	return v, true
}

// Parent is cel.Activation: there is none.
func (a *activation) Parent() cel.Activation { return nil }

func (a *activation) value(name string) ref.Val {
	ad := types.DefaultTypeAdapter
	switch name {
	case varID:
		return types.String(a.asset.ID)
	case varKind:
		return types.String(a.asset.Kind)
	case varLabels:
		return types.NewStringStringMap(ad, a.asset.Labels)
	case varAttributes:
		return types.NewStringStringMap(ad, a.asset.Attributes)
	case varAddresses:
		return newAddressList(a.asset.Addresses)
	case varMACs:
		return types.NewStringList(ad, a.asset.MACs)
	case varSources:
		return types.NewStringList(ad, a.asset.Sources())
	}
	return nil
}
