import FoundationEssentials
import LinuxSystem
import RuntimeModel
import Seccomp
import ShimProtocol

extension Daemon {
  /// The program that a choice stands for; nil for none. Off the caller's thread: it may read a file and compile.
  ///
  /// - Throws: `failedPrecondition` naming field and path of a profile that is missing or cannot be applied.
  func seccompProgram(_ choice: SeccompChoice, capabilities: CapabilitySet) async throws -> SeccompProgram? {
    switch choice {
    case .unconfined: nil
    case .runtimeDefault:
      try await threads.run { [seccomp] in try seccomp.compile(.runtimeDefault(capabilities: capabilities.mask)) }
    case .localhost(let path, let field):
      try await hostPaths.run { [seccomp] in
        do {
          let json = try RootHandle.open(path: "/").readFile(path, limit: SeccompCompiler.largestProfile)
          return try seccomp.compile(.localhost(json: json, capabilities: capabilities.mask))
        } catch let error as SystemCallError {
          throw RuntimeError(.failedPrecondition, "\(field): seccomp profile \(path): \(error)")
        } catch {
          throw RuntimeError(.failedPrecondition, "\(field): seccomp profile \(path): \(error)")
        }
      }
    }
  }

  /// Puts a Localhost profile's program into the container's request, where every start and exec finds it, whatever
  /// becomes of the file. RuntimeDefault is compiled when it is needed, so that records do not carry it.
  func addLocalhostSeccomp(to spec: inout ContainerSpec) async throws {
    guard case .localhost = spec.seccomp else { return }
    let capabilities = CapabilitySet(mask: spec.request.process.capabilities.bounding)
    guard let program = try await seccompProgram(spec.seccomp, capabilities: capabilities) else { return }
    spec.request.process.seccomp = Data(program.bytes)
    spec.request.process.seccompFlags = program.flags
  }

  /// The RuntimeDefault profile as the shim loads it, compiled once per set of capabilities.
  func defaultSeccomp(capabilities: CapabilitySet) throws -> Data {
    Data(try seccomp.compile(.runtimeDefault(capabilities: capabilities.mask)).bytes)
  }
}
