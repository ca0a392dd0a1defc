import Testing

/// One after another: they share one namespace, as daemons share a node.
@Suite(.serialized, .enabled(if: KernelRoom.isAsked, KernelRoom.reason))
struct KernelTests {}
