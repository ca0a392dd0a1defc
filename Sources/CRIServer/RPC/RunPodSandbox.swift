import CRIProtocol
import GRPCCore
import RuntimeModel

extension RuntimeService {
  /// Makes a sandbox and answers when it is READY. A retry under the same name and with the same configuration gets the
  /// first attempt's result, whether that is finished or still under way.
  func runPodSandbox(
    request: Runtime_V1_RunPodSandboxRequest, context: ServerContext
  ) async throws -> Runtime_V1_RunPodSandboxResponse {
    let plan = try SandboxPlan(request, defaultParent: daemon.configuration.cgroupParent)
    try daemon.userNamespaces.check(plan)
    var response = Runtime_V1_RunPodSandboxResponse()
    if let present = try daemon.presentSandbox(plan) {
      response.podSandboxID = present.value
      return response
    }
    let daemon = daemon
    let id = try await daemon.sandboxAttempts.join(
      name: plan.metadata.key, subject: "RunPodSandbox \(plan.subject)", request: request, context: context
    ) { stages in
      if let present = try daemon.presentSandbox(plan) { return present }
      return try await SandboxStart(daemon: daemon, plan: plan, stages: stages).run()
    }
    response.podSandboxID = id.value
    return response
  }
}

extension Daemon {
  /// The sandbox that already has the plan's name and is what the plan asks for.
  /// - Throws: `alreadyExists` when it is something else.
  fileprivate func presentSandbox(_ plan: SandboxPlan) throws(RuntimeError) -> Identifier? {
    guard let present = sandboxes.named(plan.metadata.key), present.isListed else { return nil }
    guard present.config == plan.config, present.record.runtimeHandler == plan.runtimeHandler else {
      throw RuntimeError(
        .alreadyExists, "\(plan.subject): \(present.subject) has this name and another configuration")
    }
    guard present.isReady else {
      throw RuntimeError(
        .alreadyExists, "\(plan.subject): \(present.subject) has this name and is not ready; remove it first")
    }
    return present.id
  }
}
