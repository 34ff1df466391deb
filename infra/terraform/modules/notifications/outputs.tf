output "topic_arn" {
  description = "ARN of the topic, new or not."
  value       = local.topic_arn
}
