package kernel

import "golang.org/x/sys/unix"

// From linux/netlink.h.
const (
	nlmsgHdrLen    = unix.SizeofNlMsghdr
	nlmsgAlign     = unix.NLMSG_ALIGNTO
	nfgenLen       = 4 // struct nfgenmsg
	nlaHdrLen      = unix.SizeofNlAttr
	nlaTypeMask    = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	nested         = unix.NLA_F_NESTED
	nlmsgErrLen    = 4 + nlmsgHdrLen // struct nlmsgerr without the payload
	flagCapped     = 0x100           // NLM_F_CAPPED
	flagAckTLVs    = 0x200           // NLM_F_ACK_TLVS
	flagDumpIntr   = unix.NLM_F_DUMP_INTR
	errAttrMsg     = 1 // NLMSGERR_ATTR_MSG
	errAttrOffs    = 2 // NLMSGERR_ATTR_OFFS
	batchAttrGenID = 1 // NFNL_BATCH_GENID, linux/netfilter/nfnetlink.h
)

// Message types: the subsystem in the upper byte (linux/netfilter/nfnetlink.h).
const (
	nftType = unix.NFNL_SUBSYS_NFTABLES << 8
	ctType  = unix.NFNL_SUBSYS_CTNETLINK << 8
	logType = unix.NFNL_SUBSYS_ULOG << 8
)

// From linux/netfilter/nf_tables.h, newer than golang.org/x/sys/unix knows.
const (
	nftMsgGetFlowtable = 23

	nftaTableHandle   = 4
	nftaTableUserdata = 6
	nftaTableOwner    = 7

	nftaChainFlags    = 10
	nftaChainID       = 11
	nftaChainUserdata = 12

	nftaHookDevs    = 4
	nftaDeviceName  = 1
	nftaListElem    = 1
	nftaRuleChainID = 11

	nftaSetHandle      = 16
	nftaSetExpr        = 17
	nftaSetExpressions = 18
	nftaSetCount       = 20
	nftaSetDescConcat  = 2
	nftaSetFieldLen    = 1

	nftaSetElemKeyEnd      = 10
	nftaSetElemExpressions = 11

	nftaFlowtableTable = 1
	nftaFlowtableName  = 2

	nftDataVerdictType = 0xffffff00 // NFT_DATA_VERDICT
)
