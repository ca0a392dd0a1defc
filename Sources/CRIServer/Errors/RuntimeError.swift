import RuntimeModel

/// GRPCCore has a type of this name too; in this room it is always ours.
typealias RuntimeError = RuntimeModel.RuntimeError
